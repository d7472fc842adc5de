// The program in the image of the containers that the tests run: it waits for a signal, ends with a
// code, or is its own health check. It needs nothing but the kernel, so the image needs nothing else.
package main

import (
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

// sick is the file whose presence makes the health check fail.
const sick = "/sick"

func main() {
	verb := "serve"
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "exit":
		code, err := strconv.Atoi(os.Args[2])
		if err != nil {
			os.Exit(99)
		}
		os.Exit(code)
	case "health":
		if _, err := os.Stat(sick); !errors.Is(err, fs.ErrNotExist) {
			os.Exit(1)
		}
	case "sicken":
		if os.WriteFile(sick, nil, 0o600) != nil {
			os.Exit(98)
		}
	case "heal":
		if os.Remove(sick) != nil {
			os.Exit(97)
		}
	default:
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
		<-signals
	}
}
