package podman

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"
)

// Options say where Podman is and how patient to be with it.
type Options struct {
	// Socket is the absolute path of Podman's API socket, for root usually /run/podman/podman.sock.
	Socket string
	// Logger hears of lost and found connections. Default: nothing is logged.
	Logger *slog.Logger
	// Timeouts are the bounds on waiting. The zero value means the defaults.
	Timeouts Timeouts
}

// Timeouts bound every wait of an Engine. A zero field means its default, a negative one is refused.
type Timeouts struct {
	// Call is the longest a single request may take. Default 5 s.
	Call time.Duration
	// Ping is how long Watch waits for a sign of life before it calls Podman hanging. Default 450 ms.
	Ping time.Duration
	// PingEvery is the pause between two signs of life. A hanging Podman is reported at most
	// Ping + PingEvery after it froze. Default 500 ms.
	PingEvery time.Duration
	// Debounce is the least time between two looks at changed containers. The first change after a
	// quiet time is looked at at once. Default 100 ms.
	Debounce time.Duration
	// Resync is how often Watch lists everything, in case an event was lost. Default 30 s.
	Resync time.Duration
	// Settle is when Watch lists once more after connecting, because Podman 4.x opens the stream of
	// events before it reads them. Default 1 s.
	Settle time.Duration
	// Reconnect is the longest pause between two attempts to reach a Podman that is down. Default 2 s.
	Reconnect time.Duration
	// Sample is the time over which Stats measures CPU use. Default 250 ms.
	Sample time.Duration
}

// maxSocketPath is sizeof(sockaddr_un.sun_path)-1, unix(7).
const maxSocketPath = 107

func (o *Options) validate() error {
	switch {
	case o.Socket == "":
		return fmt.Errorf("podman options: Socket is empty; give the path of Podman's API socket, for instance /run/podman/podman.sock")
	case !filepath.IsAbs(o.Socket):
		return fmt.Errorf("podman options: Socket %q is not an absolute path", o.Socket)
	case len(o.Socket) > maxSocketPath:
		return fmt.Errorf("podman options: Socket %q has %d bytes, the kernel takes at most %d", o.Socket, len(o.Socket), maxSocketPath)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &o.Timeouts
	for _, f := range []struct {
		name   string
		value  *time.Duration
		preset time.Duration
	}{
		{"Call", &t.Call, 5 * time.Second},
		{"Ping", &t.Ping, 450 * time.Millisecond},
		{"PingEvery", &t.PingEvery, 500 * time.Millisecond},
		{"Debounce", &t.Debounce, 100 * time.Millisecond},
		{"Resync", &t.Resync, 30 * time.Second},
		{"Settle", &t.Settle, time.Second},
		{"Reconnect", &t.Reconnect, 2 * time.Second},
		{"Sample", &t.Sample, 250 * time.Millisecond},
	} {
		if *f.value < 0 {
			return fmt.Errorf("podman options: Timeouts.%s is negative (%s)", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.preset
		}
	}
	return nil
}
