package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// stages runs parts that lean on one another: each starts after the ones
// before it and, at the end, stops before them. The first part that ends by
// itself ends them all.
type stages struct {
	ended chan struct{}
	first sync.Once
	err   error
	stop  []func()
}

func newStages() *stages { return &stages{ended: make(chan struct{})} }

// start runs a part under its own context.
func (s *stages) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := run(ctx)
		if err == nil && ctx.Err() == nil {
			err = errors.New("it ended by itself")
		}
		if err != nil {
			s.end(fmt.Errorf("%s: %w", name, err))
		}
	}()
	s.stop = append(s.stop, func() {
		cancel()
		<-done
	})
}

// end records why, once.
func (s *stages) end(err error) {
	s.first.Do(func() {
		s.err = err
		close(s.ended)
	})
}

// await returns when ready is closed; false when ctx or a part has ended
// before.
func (s *stages) await(ctx context.Context, ready <-chan struct{}) bool {
	select {
	case <-ready:
		return true
	case <-ctx.Done():
	case <-s.ended:
	}
	return false
}

// finish stops the parts, the last started first, and returns why the first
// one ended, nil where ctx did it.
func (s *stages) finish() error {
	for i := len(s.stop) - 1; i >= 0; i-- {
		s.stop[i]()
	}
	s.end(nil)
	return s.err
}
