package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"
)

const (
	// The largest frame that a TAP hands over without offloading is far below this.
	maxFrame = 1 << 16
	// Frames that may be under way on one delayed link: about 1.5 MB, as a router's buffer. More are dropped.
	linkQueue = 1024
)

// device is the switch's end of a cable.
type device interface {
	io.ReadWriteCloser
	SetCarrier(up bool) error
}

type mac [6]byte

func (m mac) multicast() bool { return m[0]&1 != 0 }

// ethSwitch copies frames between its ports, as far as the faults let it.
type ethSwitch struct {
	log     *slog.Logger
	running sync.WaitGroup
	closed  chan struct{}

	mu     sync.RWMutex
	ports  map[string]*port
	where  map[mac]*port
	faults faults
}

type port struct {
	name    string
	device  device
	plugged bool
	links   map[*port]*link // delayed frames from this port, by where they go; only its reader uses it
}

func newSwitch(log *slog.Logger) *ethSwitch {
	return &ethSwitch{log: log, closed: make(chan struct{}), ports: map[string]*port{}, where: map[mac]*port{}}
}

// connect adds a port, and forwards what comes from it until the device is closed.
func (s *ethSwitch) connect(name string, d device) error {
	p := &port{name: name, device: d, plugged: true, links: map[*port]*link{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ports[name] != nil {
		return errors.Join(fmt.Errorf("connect %s: there is such a port", name), d.Close())
	}
	s.ports[name] = p
	s.running.Go(func() { s.serve(p) })
	return nil
}

// setCable pulls a port's cable or puts it back. The board's own end sees it at once.
func (s *ethSwitch) setCable(name string, plugged bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ports[name]
	if p == nil {
		return fmt.Errorf("set the cable of %s: no such port", name)
	}
	p.plugged = plugged
	return p.device.SetCarrier(plugged)
}

func (s *ethSwitch) setFaults(f faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// close ends every port and waits until nothing runs.
func (s *ethSwitch) close() {
	close(s.closed)
	s.mu.RLock()
	for _, p := range s.ports {
		_ = p.device.Close()
	}
	s.mu.RUnlock()
	s.running.Wait()
}

func (s *ethSwitch) serve(p *port) {
	buffer := make([]byte, maxFrame)
	for {
		n, err := p.device.Read(buffer)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) && !errors.Is(err, io.EOF) {
				s.log.Error("port is gone", "port", p.name, "error", err)
			}
			return
		}
		if n >= 14 { // a whole Ethernet header
			s.forward(p, buffer[:n])
		}
	}
}

type delivery struct {
	to   *port
	late time.Duration
}

func (s *ethSwitch) forward(from *port, frame []byte) {
	for _, d := range s.route(from, mac(frame[0:6]), mac(frame[6:12])) {
		l := from.links[d.to]
		if l == nil {
			if d.late == 0 {
				d.to.send(frame)
				continue
			}
			// From now on all frames take this way: one that is not late must not overtake one that is.
			l = &link{to: d.to, queue: make(chan delayed, linkQueue)}
			from.links[d.to] = l
			s.running.Go(func() { l.run(s.closed) })
		}
		l.put(frame, d.late)
	}
}

// route learns where src lives, and says which ports the frame reaches, and when.
func (s *ethSwitch) route(from *port, dst, src mac) []delivery {
	s.mu.RLock()
	known := s.where[src] == from
	s.mu.RUnlock()
	if !known {
		s.mu.Lock()
		s.where[src] = from
		s.mu.Unlock()
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if !from.plugged {
		return nil
	}
	var reached []delivery
	consider := func(to *port) {
		if to == from || !to.plugged {
			return
		}
		if lost, late := s.faults.meet(from.name, to.name); !lost {
			reached = append(reached, delivery{to, late})
		}
	}
	if to := s.where[dst]; to != nil && !dst.multicast() {
		consider(to)
		return reached
	}
	for _, to := range s.ports {
		consider(to)
	}
	return reached
}

// send hands a frame to the board. A board that is off or full loses it, as on any wire.
func (p *port) send(frame []byte) { _, _ = p.device.Write(frame) }

// link holds the frames that are under way from one port to another, in their order.
type link struct {
	to    *port
	queue chan delayed
	last  time.Time // when the newest of them is due
}

type delayed struct {
	due   time.Time
	frame []byte
}

func (l *link) put(frame []byte, late time.Duration) {
	due := time.Now().Add(late)
	if due.Before(l.last) {
		due = l.last
	}
	select {
	case l.queue <- delayed{due, append([]byte(nil), frame...)}:
		l.last = due
	default: // full: dropped
	}
}

func (l *link) run(closed <-chan struct{}) {
	for {
		select {
		case d := <-l.queue:
			select {
			case <-time.After(time.Until(d.due)):
				l.to.send(d.frame)
			case <-closed:
				return
			}
		case <-closed:
			return
		}
	}
}
