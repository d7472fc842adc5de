package store

import (
	"net/url"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"
)

const (
	// walSegmentBytes: etcd sets aside two segments on disk; its own 64 MB are much for a card.
	walSegmentBytes = 8 << 20
	// mmapBytes: bbolt grows its file to the size of the first mapping and etcd
	// reads the whole file into memory at start. With etcd's 10 GB the file gets
	// 16 MB at once and a restarted member holds them all.
	mmapBytes = 256 << 10
	// snapshotEntries: after so many raft entries the log is cut; what is older
	// need not be replayed at start nor kept in memory.
	snapshotEntries = 1000
	// catchUpEntries stay in memory for a member that was away for a moment.
	catchUpEntries = 200
	// batchInterval: raft's log is on disk before a write is acknowledged; the
	// database only repeats it and may collect for a while. After a crash it is
	// caught up from the log. One commit per burst instead of ten per second.
	batchInterval = 2 * time.Second
	// electionTicks is etcd's minimum for a calm cluster.
	electionTicks = 5
)

// tuneEtcd sets the two things that etcd keeps in package variables. They must
// not change while a member runs, so it is done once for the process.
var tuneEtcd = sync.OnceFunc(func() {
	wal.SegmentSizeBytes = walSegmentBytes
	backend.InitialMmapSize = mmapBytes
})

// etcdConfig expects valid options.
func etcdConfig(o Options, lg *zap.Logger) *embed.Config {
	scheme := "http"
	if !o.PeerTLS.empty() {
		scheme = "https"
	}
	toURL := func(addr string) url.URL { return url.URL{Scheme: scheme, Host: addr} }

	c := embed.NewConfig()
	c.Name = o.Name
	c.Dir = o.Dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(lg)
	c.ListenPeerUrls = []url.URL{toURL(o.PeerListen)}
	c.AdvertisePeerUrls = []url.URL{toURL(o.PeerAdvertise)}
	c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil // clients are in this process
	members := make([]string, 0, len(o.InitialCluster))
	for name, addr := range o.InitialCluster {
		u := toURL(addr)
		members = append(members, name+"="+u.String())
	}
	c.InitialCluster = strings.Join(members, ",")
	c.InitialClusterToken = "piccolo"
	if !o.PeerTLS.empty() {
		c.PeerTLSInfo = transport.TLSInfo{
			CertFile:       o.PeerTLS.CertFile,
			KeyFile:        o.PeerTLS.KeyFile,
			TrustedCAFile:  o.PeerTLS.CAFile,
			ClientCertAuth: true,
			AllowedCNs:     o.PeerTLS.AllowedNames,
			Logger:         lg,
		}
	}
	c.TickMs = uint(o.Heartbeat.Milliseconds())
	c.ElectionMs = electionTicks * c.TickMs
	c.SnapshotCount = snapshotEntries
	c.SnapshotCatchUpEntries = catchUpEntries
	c.MaxSnapFiles, c.MaxWalFiles = 2, 2
	c.BackendBatchInterval = batchInterval
	c.MaxTxnOps = 2 * MaxTxnOps
	c.MaxRequestBytes = MaxTxnBytes + MaxTxnBytes/2
	c.AutoCompactionRetention = "0" // see compact.go
	c.WarningApplyDuration = time.Second
	c.WarningUnaryRequestDuration = time.Second
	return c
}
