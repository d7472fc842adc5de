package podman

import (
	"context"
	"errors"
	"time"
)

// pulse asks for a sign of life again and again and returns when there is none. The open stream of
// events tells at once when Podman dies, and never when it hangs.
func (e *Engine) pulse(ctx context.Context) error {
	tick := time.NewTicker(e.limits.PingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		asked := time.Now()
		_, err := e.ping(ctx, e.limits.Ping)
		if err == nil {
			tick.Reset(e.limits.PingEvery)
			continue
		}
		if errors.Is(err, ErrTimeout) && time.Since(asked) > e.limits.Ping+e.limits.PingEvery {
			// This process was stalled itself; its impatience says nothing about Podman.
			e.log.Info("piccolo was stalled while it waited for Podman; asking again", "stalled", time.Since(asked))
			continue
		}
		return err
	}
}
