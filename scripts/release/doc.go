// Package release is where Piccolo's tarballs are made and tried: the scripts
// release and install.sh, the configuration template, and the program
// licenses.
//
// Its Go code is tests only. Those behind the build tag "lab" build a real
// tarball, install it on boards with systemd, and run the ARM binaries under
// qemu-user; the others need neither root nor Podman.
package release
