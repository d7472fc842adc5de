package rest

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/simplelru"
	"golang.org/x/time/rate"

	"piccolo.io/piccolo/node/api"
	"piccolo.io/piccolo/node/pki"
)

const (
	// maxClients bounds the limiter's memory. Whoever asked longest ago is
	// forgotten first, and begins with a full bucket if it comes back.
	maxClients = 1024
	// nodeFactor is how much more often a node may ask than anybody else.
	nodeFactor = 10
	// enrolPerSecond and enrolBurst bound attempts to join from one address:
	// enough for ten boards behind one router, too few to try secrets.
	enrolPerSecond = 2
	enrolBurst     = 20
	// enrolCall is the gRPC side of registerPath.
	enrolCall = "/piccolo.v1.NodeAgentService/RegisterNode"
)

// limiter bounds how often each client may ask.
type limiter struct {
	perSecond rate.Limit
	burst     int

	mu      sync.Mutex
	clients *simplelru.LRU
}

func newLimiter(perSecond float64, burst int) (*limiter, error) {
	clients, err := simplelru.NewLRU(maxClients, nil)
	if err != nil {
		return nil, err
	}
	return &limiter{perSecond: rate.Limit(perSecond), burst: burst, clients: clients}, nil
}

// wait returns how long the client must wait before it may ask, 0 for now.
func (l *limiter) wait(r *http.Request, now time.Time) time.Duration {
	if _, local := r.Context().Value(localKey{}).(localAddr); local {
		return 0
	}
	if r.URL.Path == registerPath || r.URL.Path == enrolCall {
		return l.take("enrol "+clientNet(r.RemoteAddr).String(), enrolPerSecond, enrolBurst, now)
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		if peer, err := pki.PeerID(*r.TLS); err == nil {
			return l.take("node "+peer.ID, nodeFactor*l.perSecond, nodeFactor*l.burst, now)
		}
	}
	return l.take("ip "+clientNet(r.RemoteAddr).String(), l.perSecond, l.burst, now)
}

func (l *limiter) take(client string, perSecond rate.Limit, burst int, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var bucket *rate.Limiter
	if v, ok := l.clients.Get(client); ok {
		bucket = v.(*rate.Limiter)
	} else {
		bucket = rate.NewLimiter(perSecond, burst)
		l.clients.Add(client, bucket)
	}
	reservation := bucket.ReserveN(now, 1)
	delay := reservation.DelayFrom(now)
	if delay > 0 {
		reservation.CancelAt(now)
	}
	return delay
}

// refuse answers a request that came too early.
func refuse(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	seconds := int(math.Ceil(wait.Seconds()))
	w.Header().Set("Retry-After", strconv.Itoa(max(seconds, 1)))
	if isGRPC(r) {
		// Its clients read the status only.
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	writeError(w, r, &api.Error{Kind: api.KindTooMany, Message: "requests come faster than this server takes them from one client",
		Hint: fmt.Sprintf("try again in %d s", max(seconds, 1))})
}

func isGRPC(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc")
}
