package piccolov1

import (
	"time"

	"pgregory.net/rapid"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// text is any text that can be on the wire.
var text = rapid.StringN(0, 20, 60)

// times are all that can be said on the wire, and none.
var times = rapid.Custom(func(t *rapid.T) time.Time {
	if rapid.Bool().Draw(t, "zero") {
		return time.Time{}
	}
	first, last := time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	return time.Unix(rapid.Int64Range(first.Unix(), last.Unix()).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).UTC()
})

// someTime is nil or a time that is not zero.
func someTime(t *rapid.T, what string) *time.Time {
	at := times.Draw(t, what)
	if at.IsZero() {
		return nil
	}
	return &at
}

var (
	ports   = rapid.IntRange(0, 65535)
	amounts = rapid.IntRange(0, 1<<31-1) // an int of 32 bits
	labels  = rapid.MapOfN(text, text, 0, 4)
	blob    = rapid.SliceOfN(rapid.Byte(), 0, 40)
	reasons = rapid.Custom(func(t *rapid.T) topology.Reasons {
		return topology.Reasons{}.With(rapid.SliceOfN(rapid.SampledFrom(topology.AllReasons()), 0, 4).Draw(t, "r")...)
	})
	severity  = rapid.SampledFrom([]workload.Severity{workload.SeverityInfo, workload.SeverityWarning, workload.SeverityError})
	roles     = rapid.SampledFrom([]topology.Role{topology.RoleMaster, topology.RoleSub})
	resources = rapid.Custom(func(t *rapid.T) topology.Resources {
		return topology.Resources{CPU: amounts.Draw(t, "cpu"), Memory: amounts.Draw(t, "memory"), Disk: amounts.Draw(t, "disk")}
	})
	platforms = rapid.Custom(func(t *rapid.T) topology.Platform {
		s := rapid.SliceOfN(text, 5, 5).Draw(t, "platform")
		return topology.Platform{OS: s[0], Arch: s[1], Variant: s[2], Kernel: s[3], Model: s[4]}
	})
)

var registrations = rapid.Custom(func(t *rapid.T) workload.Registration {
	s := rapid.SliceOfN(text, 7, 7).Draw(t, "texts")
	r := workload.Registration{
		NodeID: s[0], Name: s[1], Hostname: s[2], IP: s[3], Role: roles.Draw(t, "role"), Token: s[4], CSR: blob.Draw(t, "csr"), Proof: blob.Draw(t, "proof"),
		Resources: resources.Draw(t, "resources"), Platform: platforms.Draw(t, "platform"), Labels: labels.Draw(t, "labels"),
		Version: s[5], MachineID: s[6], GossipPort: ports.Draw(t, "gossip"), APIPort: ports.Draw(t, "api"), Time: times.Draw(t, "time"),
	}
	for range rapid.IntRange(0, 3).Draw(t, "findings") {
		r.Readiness = append(r.Readiness, workload.Finding{Check: text.Draw(t, "check"), Severity: severity.Draw(t, "severity"), Found: text.Draw(t, "found"), Mend: text.Draw(t, "mend")})
	}
	return r
})

var plans = rapid.Custom(func(t *rapid.T) workload.Plan {
	return workload.Plan{
		Node: text.Draw(t, "node"), Revision: rapid.Int64Range(1, 1<<62).Draw(t, "revision"), Name: text.Draw(t, "name"),
		Labels: labels.Draw(t, "labels"), HeartbeatInterval: topology.Duration(rapid.Int64().Draw(t, "interval")), LogLevel: text.Draw(t, "level"),
	}
})

var views = rapid.Custom(func(t *rapid.T) workload.View {
	v := workload.View{ClusterID: text.Draw(t, "id"), ClusterName: text.Draw(t, "name"), Revision: rapid.Int64().Draw(t, "revision")}
	if rapid.Bool().Draw(t, "with config") {
		v.Config = topology.Config{HeartbeatInterval: topology.Duration(rapid.Int64().Draw(t, "heartbeat")), LogLevel: text.Draw(t, "level"), Approval: topology.Approval(text.Draw(t, "approval"))}
	}
	for range rapid.IntRange(0, 3).Draw(t, "nodes") {
		v.Nodes = append(v.Nodes, topology.Node{
			ID: text.Draw(t, "id"), Name: text.Draw(t, "name"), IP: text.Draw(t, "ip"), Role: roles.Draw(t, "role"),
			Status: rapid.SampledFrom(topology.Statuses()).Draw(t, "status"), Reasons: reasons.Draw(t, "reasons"),
			Resources: resources.Draw(t, "resources"), Labels: labels.Draw(t, "labels"), Version: text.Draw(t, "version"),
			Platform: platforms.Draw(t, "platform"), GossipPort: ports.Draw(t, "gossip"), APIPort: ports.Draw(t, "api"),
			CreatedAt: times.Draw(t, "created"), StatusSince: times.Draw(t, "since"), LastHeartbeat: someTime(t, "heartbeat"),
		})
	}
	return v
})

var keyrings = rapid.Custom(func(t *rapid.T) workload.Keyring {
	return workload.Keyring{Keys: rapid.SliceOfN(blob, 0, 3).Draw(t, "keys")}
})

var admissions = rapid.Custom(func(t *rapid.T) workload.Admission {
	a := workload.Admission{
		NodeID: text.Draw(t, "id"), Name: text.Draw(t, "name"), Status: rapid.SampledFrom(topology.Statuses()).Draw(t, "status"),
		Certificate: blob.Draw(t, "certificate"), CA: blob.Draw(t, "ca"),
		RetryAfter: time.Duration(rapid.Int64().Draw(t, "retry")), MasterTime: times.Draw(t, "time"),
	}
	if a.Status != topology.StatusPending { // a pending node is told nothing of the cluster
		a.Keyring, a.View, a.Plan = keyrings.Draw(t, "keyring"), views.Draw(t, "view"), plans.Draw(t, "plan")
	}
	return a
})

var containers = rapid.Custom(func(t *rapid.T) workload.Container {
	s := rapid.SliceOfN(text, 5, 5).Draw(t, "texts")
	c := workload.Container{
		ID: s[0], Name: s[1], Image: s[2], State: s[3], Health: s[4], ExitCode: int(rapid.Int32().Draw(t, "exit")),
		Restarts: amounts.Draw(t, "restarts"), CreatedAt: times.Draw(t, "created"), StartedAt: someTime(t, "started"),
		FinishedAt: someTime(t, "finished"), Labels: labels.Draw(t, "labels"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "ports") {
		c.Ports = append(c.Ports, workload.Port{HostIP: text.Draw(t, "ip"), HostPort: ports.Draw(t, "host"), ContainerPort: ports.Draw(t, "inner"), Protocol: text.Draw(t, "protocol")})
	}
	return c
})

var reports = rapid.Custom(func(t *rapid.T) workload.Report {
	r := workload.Report{
		Node: text.Draw(t, "node"), Sequence: rapid.Uint64().Draw(t, "sequence"), At: times.Draw(t, "at"), Conditions: reasons.Draw(t, "conditions"),
		Containers: rapid.SliceOfN(containers, 0, 3).Draw(t, "containers"), Complete: rapid.Bool().Draw(t, "complete"),
		Resources: resources.Draw(t, "resources"), Platform: platforms.Draw(t, "platform"), Version: text.Draw(t, "version"), PodmanVersion: text.Draw(t, "podman"),
	}
	for range rapid.IntRange(0, 2).Draw(t, "alerts") {
		r.Alerts = append(r.Alerts, workload.Alert{ID: text.Draw(t, "id"), Kind: text.Draw(t, "kind"), Node: r.Node, Severity: severity.Draw(t, "severity"),
			Message: text.Draw(t, "message"), Hint: text.Draw(t, "hint"), RaisedAt: times.Draw(t, "raised")})
	}
	return r
})

var heartbeats = rapid.Custom(func(t *rapid.T) workload.Heartbeat {
	h := workload.Heartbeat{Node: text.Draw(t, "node"), Sequence: rapid.Uint64().Draw(t, "sequence"), AppliedRevision: rapid.Int64().Draw(t, "applied"), ApplyError: text.Draw(t, "error")}
	u := &h.Usage
	u.At, u.CPUPercent, u.Load1 = times.Draw(t, "at"), rapid.Float64().Draw(t, "cpu"), rapid.Float64().Draw(t, "load")
	u.MemoryUsed, u.MemoryAvailable, u.DiskUsedPercent = amounts.Draw(t, "used"), amounts.Draw(t, "available"), rapid.Float64().Draw(t, "disk")
	u.NetworkReceived, u.NetworkSent, u.DeviceWritten = rapid.Uint64().Draw(t, "received"), rapid.Uint64().Draw(t, "sent"), rapid.Uint64().Draw(t, "written")
	u.FlashMBPerDay, u.UptimeSeconds = rapid.Float64().Draw(t, "flash"), rapid.Uint64().Draw(t, "uptime")
	if rapid.Bool().Draw(t, "sensor") {
		warm := rapid.Float64().Draw(t, "temperature")
		u.Temperature = &warm
	}
	return h
})

var hellos = rapid.Custom(func(t *rapid.T) workload.Hello {
	s := rapid.SliceOfN(text, 5, 5).Draw(t, "texts")
	return workload.Hello{Node: s[0], Instance: s[1], MachineID: s[2], IP: s[3], GossipPort: ports.Draw(t, "gossip"), APIPort: ports.Draw(t, "api"),
		Version: s[4], AppliedRevision: rapid.Int64().Draw(t, "applied"), Time: times.Draw(t, "time")}
})

var notices = rapid.Custom(func(t *rapid.T) workload.Notice {
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		return workload.Notice{PlanRevision: rapid.Int64().Draw(t, "plan")}
	case 1:
		v := views.Draw(t, "view")
		return workload.Notice{View: &v}
	case 2:
		return workload.Notice{StatsQuery: rapid.Uint64Min(1).Draw(t, "query")}
	case 3:
		return workload.Notice{Ping: rapid.Uint64Min(1).Draw(t, "ping")}
	case 4:
		k := keyrings.Draw(t, "keyring")
		return workload.Notice{Keyring: &k}
	case 5:
		return workload.Notice{Removed: rapid.StringN(1, 20, -1).Draw(t, "removed")}
	}
	return workload.Notice{}
})

var answers = rapid.Custom(func(t *rapid.T) workload.Answer {
	if rapid.Bool().Draw(t, "pong") {
		return workload.Answer{Pong: rapid.Uint64().Draw(t, "number")}
	}
	s := &workload.StatsAnswer{Query: rapid.Uint64().Draw(t, "query"), Error: text.Draw(t, "error"), Stats: map[string]workload.ContainerStats{}}
	for _, id := range rapid.SliceOfNDistinct(text, 0, 3, rapid.ID).Draw(t, "ids") {
		s.Stats[id] = workload.ContainerStats{CPUPercent: rapid.Float64().Draw(t, "cpu"), MemoryBytes: rapid.Uint64().Draw(t, "memory"), MemoryLimit: rapid.Uint64().Draw(t, "limit")}
	}
	return workload.Answer{Stats: s}
})
