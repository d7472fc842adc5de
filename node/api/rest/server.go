package rest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"piccolo.io/piccolo/node/api"
)

// Limits that need no choice.
const (
	// headerTimeout bounds the TLS handshake and the request's head.
	headerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
	// maxStreams on one HTTP/2 connection.
	maxStreams = 64
	// pingTimeout after a ping, an HTTP/2 peer that has not answered is gone.
	pingTimeout = 10 * time.Second
	// writeStall ends an HTTP/2 connection whose peer takes nothing.
	writeStall = 20 * time.Second
	// callTimeout is how long the message of a gRPC call may take to arrive.
	// attachCall, which stays open, has its own bound for the first message.
	callTimeout = 10 * time.Second
	attachCall  = "/piccolo.v1.NodeAgentService/Attach"
	// shutdownGrace is how long requests that are under way may take when
	// the server stops; closeGrace is for the rest to notice that it did.
	shutdownGrace = 2 * time.Second
	closeGrace    = time.Second
)

// Options of a Server. At least one of Listen and Socket is needed.
type Options struct {
	// Handler serves REST.
	Handler http.Handler
	// GRPC serves HTTP/2 requests of content type application/grpc on the
	// TLS port. Without it there is none.
	GRPC http.Handler
	// Listen is the host:port of the TLS listener; empty for none.
	Listen string
	// TLS is needed with Listen. It must ask for client certificates and
	// verify the ones that are shown.
	TLS *tls.Config
	// Socket is the path of the local socket; empty for none.
	Socket string
	// MaxConnections bounds the open connections of each listener, and
	// MaxConnectionsPerIP those from one address. Beyond the first, new ones
	// wait; beyond the second they are closed. Defaults 256 and 64.
	MaxConnections      int
	MaxConnectionsPerIP int
	// Rate of requests per second and Burst that one address may make; a
	// node with its certificate may make ten times as many, and the local
	// socket has no bound. Defaults 100 and 200.
	Rate   float64
	Burst  int
	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	for _, f := range []struct {
		field *int
		value int
	}{{&o.MaxConnections, 256}, {&o.MaxConnectionsPerIP, 64}, {&o.Burst, 200}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.Rate == 0 {
		o.Rate = 100
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Handler == nil:
		return errors.New("rest: Handler is missing")
	case o.Listen == "" && o.Socket == "":
		return errors.New("rest: Listen or Socket is needed")
	case o.Listen != "" && o.TLS == nil:
		return errors.New("rest: Listen needs TLS")
	case o.MaxConnections < 0, o.MaxConnectionsPerIP < 0, o.Burst < 0, o.Rate < 0:
		return errors.New("rest: MaxConnections, MaxConnectionsPerIP, Burst and Rate must not be negative")
	}
	return nil
}

// Server is the node's one door: the TLS port and the local socket.
type Server struct {
	o       Options
	limiter *limiter
	tcp     net.Listener
	unix    net.Listener
	// streams ends before base: first what would stay open for ever, then
	// every request.
	streams, base       context.Context
	endStreams, endBase context.CancelFunc
	active              sync.WaitGroup
	// head is headerTimeout and call callTimeout, shorter in tests.
	head, call time.Duration
}

// New checks the options and binds the listeners. Either Run or Close must
// follow.
func New(o Options) (*Server, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Server{o: o, head: headerTimeout, call: callTimeout}
	s.base, s.endBase = context.WithCancel(context.Background())
	s.streams, s.endStreams = context.WithCancel(s.base)
	var err error
	if s.limiter, err = newLimiter(o.Rate, o.Burst); err != nil {
		return nil, fmt.Errorf("rest: %w", err)
	}
	if o.Listen != "" {
		if s.tcp, err = listenTCP(o.Listen, o.MaxConnections, o.MaxConnectionsPerIP); err != nil {
			return nil, err
		}
	}
	if o.Socket != "" {
		if s.unix, err = listenUnix(o.Socket, o.MaxConnections); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	return s, nil
}

// Addr is the address of the TLS listener, nil where there is none.
func (s *Server) Addr() net.Addr {
	if s.tcp == nil {
		return nil
	}
	return s.tcp.Addr()
}

// Close lets the listeners go when Run is never called.
func (s *Server) Close() error {
	s.endBase()
	var errs []error
	for _, l := range []net.Listener{s.tcp, s.unix} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends or a listener fails. At the end streams are ended
// first, other requests may take two more seconds, and what is left is cut.
// It may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.endBase()
	srv := s.httpServer()
	g, ctx := errgroup.WithContext(ctx)
	if s.tcp != nil {
		srv.TLSConfig = s.o.TLS
		g.Go(func() error { return serveError("serve on "+s.o.Listen, srv.ServeTLS(s.tcp, "", "")) })
	}
	if s.unix != nil {
		g.Go(func() error { return serveError("serve on "+s.o.Socket, srv.Serve(s.unix)) })
	}
	g.Go(func() error {
		<-ctx.Done()
		s.shutdown(srv)
		return nil
	})
	return g.Wait()
}

func serveError(what string, err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// shutdown ends everything within shutdownGrace and closeGrace.
func (s *Server) shutdown(srv *http.Server) {
	s.endStreams()
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := srv.Shutdown(grace); err == nil {
		return
	}
	s.endBase()
	_ = srv.Close()
	done := make(chan struct{})
	go func() { s.active.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(closeGrace):
		s.o.Logger.Warn("requests did not end in time and were left behind")
	}
}

func (s *Server) httpServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.head,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// Handshakes that fail and the like: anybody can cause them.
		ErrorLog:    slog.NewLogLogger(s.o.Logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return context.WithValue(s.base, streamsKey{}, s.streams) },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if local, ok := c.RemoteAddr().(localAddr); ok {
				return context.WithValue(ctx, localKey{}, local)
			}
			return ctx
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams: maxStreams,
			SendPingTimeout:      api.SignOfLife,
			PingTimeout:          pingTimeout,
			WriteByteTimeout:     writeStall,
		},
	}
}

// ServeHTTP bounds the rate and hands the request to REST or gRPC.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.active.Add(1)
	defer s.active.Done()
	if wait := s.limiter.wait(r, time.Now()); wait > 0 {
		refuse(w, r, wait)
		return
	}
	if s.o.GRPC == nil || !isGRPC(r) {
		s.o.Handler.ServeHTTP(w, r)
		return
	}
	if r.URL.Path != attachCall {
		// It ends with this request's stream.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.call))
	}
	// A call may stay open for ever, so it ends when the server stops.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	s.o.GRPC.ServeHTTP(w, r.WithContext(ctx))
}

// localKey finds the localAddr of a request that came over the local socket,
// streamsKey the context that ends when the server begins to stop.
type (
	localKey   struct{}
	streamsKey struct{}
)

// stopping is closed when the server of this request begins to stop; without
// a Server it never is.
func stopping(ctx context.Context) <-chan struct{} {
	streams, ok := ctx.Value(streamsKey{}).(context.Context)
	if !ok {
		return nil
	}
	return streams.Done()
}
