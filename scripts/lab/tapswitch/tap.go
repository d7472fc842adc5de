package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// tapDevice is the switch's end of a TAP: a Read gives one frame that the board sent, a Write hands it one.
type tapDevice struct{ *os.File }

// openTAP makes the device in the network namespace that the file netns stands for. It lives as long as it is open.
func openTAP(netns, device string) (*tapDevice, error) {
	type result struct {
		file *os.File
		err  error
	}
	done := make(chan result)
	go func() {
		// Never unlocked: the thread ends with the goroutine, and its namespace with it.
		runtime.LockOSThread()
		file, err := openTAPHere(netns, device)
		done <- result{file, err}
	}()
	got := <-done
	if got.err != nil {
		return nil, fmt.Errorf("make %s in %s: %w", device, netns, got.err)
	}
	return &tapDevice{got.file}, nil
}

func openTAPHere(netns, device string) (*os.File, error) {
	ns, err := os.Open(netns)
	if err != nil {
		return nil, err
	}
	defer func() { _ = ns.Close() }()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("enter the namespace: %w", err)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("TUNSETIFF: %w", err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), device), nil
}

// SetCarrier makes the board see its cable as connected or not.
func (d *tapDevice) SetCarrier(up bool) error {
	value := 0
	if up {
		value = 1
	}
	conn, err := d.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.IoctlSetPointerInt(int(fd), unix.TUNSETCARRIER, value)
	})
	return errors.Join(err, failed)
}
