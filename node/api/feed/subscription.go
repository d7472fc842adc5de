package feed

import "context"

// Subscription is one reader of a Hub. It is for one goroutine.
type Subscription struct {
	hub     *Hub
	kinds   []string
	backlog []Change
	queue   chan Change
	stop    func() bool
	// err is written once, before queue is closed.
	err error
}

// Backlog returns, once, what comes before the first change of Changes:
// either a reset and a snapshot or what was missed, and then synced.
func (s *Subscription) Backlog() []Change {
	b := s.backlog
	s.backlog = nil
	return b
}

// Changes gives every change after the backlog. When it is closed, Err says
// why.
func (s *Subscription) Changes() <-chan Change { return s.queue }

// Err is valid once Changes is closed: ErrSlow, ErrClosed, or the cause of
// the end of the context.
func (s *Subscription) Err() error { return s.err }

// Close ends the subscription. It may be called more than once.
func (s *Subscription) Close() {
	s.stop()
	s.end(context.Canceled)
}

func (s *Subscription) end(reason error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.cut(s, reason)
}
