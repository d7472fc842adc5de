package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
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

// goodbyeTime bounds the wait for parts to end that a node has as a member of
// its cluster.
const goodbyeTime = 2 * time.Second

// tenure is the time in which the node belongs to its cluster. Some parts work
// only as long; the daemon goes on without them.
type tenure struct {
	over  chan struct{}
	once  sync.Once
	parts []chan struct{} // closed when a part has ended
}

func newTenure() *tenure { return &tenure{over: make(chan struct{})} }

// during makes run end, in order, with the tenure; its stage goes on. All parts
// are named before one runs.
func (t *tenure) during(run func(context.Context) error) func(context.Context) error {
	done := make(chan struct{})
	t.parts = append(t.parts, done)
	return func(ctx context.Context) error {
		member, cancel := context.WithCancel(ctx)
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			defer close(done)
			ended <- run(member)
		}()
		select {
		case err := <-ended:
			return err
		case <-t.over:
			cancel()
		}
		if err := <-ended; err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
}

// end ends the tenure, once.
func (t *tenure) end() { t.once.Do(func() { close(t.over) }) }

// depart ends the tenure and waits until the parts have ended.
func (t *tenure) depart(ctx context.Context) {
	t.end()
	ctx, cancel := context.WithTimeout(ctx, goodbyeTime)
	defer cancel()
	for _, done := range t.parts {
		select {
		case <-done:
		case <-ctx.Done():
			return
		}
	}
}
