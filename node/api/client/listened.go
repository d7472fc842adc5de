package client

import (
	"net"
	"sync/atomic"
	"time"
)

// listened is a connection that knows when something came over it last.
type listened struct {
	net.Conn
	began time.Time
	after atomic.Int64 // nanoseconds since began
}

func listen(c net.Conn) *listened { return &listened{Conn: c, began: time.Now()} }

func (l *listened) Read(p []byte) (int, error) {
	n, err := l.Conn.Read(p)
	if n > 0 {
		l.after.Store(int64(time.Since(l.began)))
	}
	return n, err
}

// last is when something came; the beginning before that.
func (l *listened) last() time.Time { return l.began.Add(time.Duration(l.after.Load())) }
