package unit

import (
	"context"
	"errors"
	"fmt"

	"github.com/coreos/go-systemd/v22/dbus"
)

// machineManager is the systemd of this machine. Each call has a connection
// of its own, straight to systemd's private socket: it works for root where
// no D-Bus daemon runs.
type machineManager struct{}

func (machineManager) with(ctx context.Context, do func(*dbus.Conn) error) error {
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return fmt.Errorf("connect to systemd: %w", err)
	}
	defer conn.Close()
	return do(conn)
}

func (m machineManager) Reload(ctx context.Context) error {
	return m.with(ctx, func(c *dbus.Conn) error { return c.ReloadContext(ctx) })
}

func (m machineManager) Enable(ctx context.Context, unit string, on bool) error {
	return m.with(ctx, func(c *dbus.Conn) error {
		if on {
			_, _, err := c.EnableUnitFilesContext(ctx, []string{unit}, false, false)
			return err
		}
		_, err := c.DisableUnitFilesContext(ctx, []string{unit}, false)
		return err
	})
}

func (m machineManager) Start(ctx context.Context, unit string) error {
	return m.with(ctx, func(c *dbus.Conn) error {
		done := make(chan string, 1)
		_, err := c.StartUnitContext(ctx, unit, "replace", done)
		return await(ctx, done, err)
	})
}

func (m machineManager) Stop(ctx context.Context, unit string) error {
	return m.with(ctx, func(c *dbus.Conn) error {
		done := make(chan string, 1)
		_, err := c.StopUnitContext(ctx, unit, "replace", done)
		return await(ctx, done, err)
	})
}

func await(ctx context.Context, done <-chan string, err error) error {
	if err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return errors.New("systemd says: " + result)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("systemd has not finished: %w", ctx.Err())
	}
}

func (m machineManager) State(ctx context.Context, unit string) (state string, err error) {
	err = m.with(ctx, func(c *dbus.Conn) error {
		p, err := c.GetUnitPropertyContext(ctx, unit, "ActiveState")
		if err != nil {
			return err
		}
		state, _ = p.Value.Value().(string)
		return nil
	})
	return state, err
}
