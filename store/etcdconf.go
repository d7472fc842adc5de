package store

import (
	"crypto/rand"
	"crypto/tls"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/tlsutil"
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

// etcdConfig expects valid options. joins are all members of the cluster that an
// empty directory joins, by name; nil: it founds one, or is not empty.
func etcdConfig(o Options, joins map[string]string, lg *zap.Logger) *embed.Config {
	c := embed.NewConfig()
	c.Name = o.Name
	c.Dir = o.Dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(lg)
	c.ListenPeerUrls = []url.URL{o.toURL(o.PeerListen)}
	c.AdvertisePeerUrls = []url.URL{o.toURL(o.PeerAdvertise)}
	c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil // clients are in this process
	c.InitialClusterToken = "piccolo"
	if len(o.InitialCluster) == 1 {
		// etcd makes the cluster's id of this and the address: a cluster that is
		// founded anew in the same place must not be taken for the old one.
		c.InitialClusterToken = rand.Text()
	}
	members := o.InitialCluster
	if joins != nil {
		members, c.ClusterState = joins, embed.ClusterStateFlagExisting
	}
	c.InitialCluster = initialCluster(o, members)
	c.MaxLearners = maxLearners
	c.PreVote = true // a member that comes back does not unseat a leader that all others hear
	if !o.PeerTLS.empty() {
		c.PeerTLSInfo = o.PeerTLS.info(lg)
		c.TlsMinVersion = string(tlsutil.TLSVersion13)
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

func initialCluster(o Options, members map[string]string) string {
	pairs := make([]string, 0, len(members))
	for name, addr := range members {
		pairs = append(pairs, name+"="+o.peerURL(addr))
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

// info is how etcd is told to verify. Whoever listens demands a certificate of
// the CA and looks for AllowedHostnames in it; whoever dials looks for ServerName
// in the other's, instead of for the address. etcd's own check of the address that
// a client dials from would ask the network's name server for every name in the
// certificate: it is left out.
func (t PeerTLS) info(lg *zap.Logger) transport.TLSInfo {
	return transport.TLSInfo{
		CertFile:            t.CertFile,
		KeyFile:             t.KeyFile,
		TrustedCAFile:       t.CAFile,
		ClientCertAuth:      true,
		AllowedHostnames:    []string{t.PeerName},
		ServerName:          t.PeerName,
		SkipClientSANVerify: true,
		MinVersion:          tls.VersionTLS13,
		Logger:              lg,
	}
}
