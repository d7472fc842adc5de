// Command app is the program in the lab's test images: a web server whose health can be switched off, a worker
// that counts and logs, and the probe that serves as the images' health check. It exists so that boards have real
// containers to run without any registry.
package main
