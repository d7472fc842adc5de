package piccolov1

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"piccolo.io/piccolo/node/workload"
	"piccolo.io/piccolo/topology"
)

// FromRegistration writes r as a request.
func FromRegistration(r workload.Registration) *NodeRegistrationRequest {
	x := &NodeRegistrationRequest{
		NodeId: r.NodeID, Hostname: r.Hostname, IpAddress: r.IP, Role: string(r.Role),
		Resources:   fromResources(r.Resources),
		Credentials: &Credentials{Token: r.Token, Csr: r.CSR, Proof: r.Proof},
		Name:        r.Name, Platform: fromPlatform(r.Platform), Labels: r.Labels, Version: r.Version,
		MachineId: r.MachineID, GossipPort: count(r.GossipPort), ApiPort: count(r.APIPort), Time: fromTime(r.Time),
	}
	for _, f := range r.Readiness {
		x.Readiness = append(x.Readiness, &Finding{Check: f.Check, Severity: string(f.Severity), Found: f.Found, Mend: f.Mend})
	}
	return x
}

// Registration reads the request. It fails for values that no node can mean.
func (x *NodeRegistrationRequest) Registration() (workload.Registration, error) {
	gossip, err := port("gossip_port", x.GetGossipPort())
	if err != nil {
		return workload.Registration{}, err
	}
	api, err := port("api_port", x.GetApiPort())
	if err != nil {
		return workload.Registration{}, err
	}
	r := workload.Registration{
		NodeID: x.GetNodeId(), Name: x.GetName(), Hostname: x.GetHostname(), IP: x.GetIpAddress(),
		Role: topology.Role(x.GetRole()), Token: x.GetCredentials().GetToken(), CSR: x.GetCredentials().GetCsr(), Proof: x.GetCredentials().GetProof(),
		Resources: x.GetResources().resources(), Platform: x.GetPlatform().platform(), Labels: x.GetLabels(),
		Version: x.GetVersion(), MachineID: x.GetMachineId(), GossipPort: gossip, APIPort: api, Time: toTime(x.GetTime()),
	}
	for _, f := range x.GetReadiness() {
		r.Readiness = append(r.Readiness, workload.Finding{Check: f.GetCheck(), Severity: workload.Severity(f.GetSeverity()), Found: f.GetFound(), Mend: f.GetMend()})
	}
	return r, nil
}

// FromAdmission writes a as the answer to a registration.
func FromAdmission(a workload.Admission) *NodeRegistrationResponse {
	x := &NodeRegistrationResponse{
		NodeId: a.NodeID, Name: a.Name, Status: string(a.Status), Certificate: a.Certificate, Ca: a.CA,
		RetryAfter: durationpb.New(a.RetryAfter), MasterTime: fromTime(a.MasterTime),
	}
	if a.Status == topology.StatusPending {
		x.Message = "waiting for an administrator's approval"
		return x
	}
	x.Keyring, x.View, x.Plan = &Keyring{Keys: a.Keyring.Keys}, FromView(a.View), FromPlan(a.Plan)
	return x
}

// Admission reads the answer to a registration.
func (x *NodeRegistrationResponse) Admission() workload.Admission {
	return workload.Admission{
		NodeID: x.GetNodeId(), Name: x.GetName(), Status: topology.NodeStatus(x.GetStatus()),
		Certificate: x.GetCertificate(), CA: x.GetCa(), Keyring: workload.Keyring{Keys: x.GetKeyring().GetKeys()},
		View: x.GetView().ToView(), Plan: x.GetPlan().ToPlan(),
		RetryAfter: x.GetRetryAfter().AsDuration(), MasterTime: toTime(x.GetMasterTime()),
	}
}

// FromReport writes r as a status report.
func FromReport(r workload.Report) *StatusReport {
	x := &StatusReport{
		NodeId: r.Node, Status: "ok", Sequence: r.Sequence, At: fromTime(r.At), Complete: r.Complete,
		Resources: fromResources(r.Resources), Platform: fromPlatform(r.Platform), Version: r.Version, PodmanVersion: r.PodmanVersion,
		// For readers of the published contract; live figures go with the
		// heartbeat, so only what rarely changes is here.
		Metrics: map[string]string{
			"cpu_cores": strconv.Itoa(r.Resources.CPU), "memory_mb": strconv.Itoa(r.Resources.Memory), "disk_gb": strconv.Itoa(r.Resources.Disk),
			"containers": strconv.Itoa(len(r.Containers)),
		},
	}
	for _, c := range r.Conditions {
		x.Conditions = append(x.Conditions, string(c))
	}
	if len(x.Conditions) > 0 {
		x.Status = strings.Join(x.Conditions, ",")
	}
	for _, c := range r.Containers {
		x.Containers = append(x.Containers, fromContainer(c))
	}
	for _, a := range r.Alerts {
		x.Alerts = append(x.Alerts, &AlertInfo{Id: a.ID, Kind: a.Kind, Severity: string(a.Severity), Message: a.Message, Hint: a.Hint, RaisedAt: fromTime(a.RaisedAt)})
	}
	return x
}

// Report reads a status report. Conditions that this version does not know
// are an error, since a state would be lost.
func (x *StatusReport) Report() (workload.Report, error) {
	r := workload.Report{
		Node: x.GetNodeId(), Sequence: x.GetSequence(), At: toTime(x.GetAt()), Complete: x.GetComplete(),
		Resources: x.GetResources().resources(), Platform: x.GetPlatform().platform(),
		Version: x.GetVersion(), PodmanVersion: x.GetPodmanVersion(), Conditions: topology.Reasons{},
	}
	for _, s := range x.GetConditions() {
		c, err := topology.ParseReason(s)
		if err != nil {
			return r, fmt.Errorf("conditions: %w: %w", topology.ErrInvalid, err)
		}
		r.Conditions = r.Conditions.With(c)
	}
	for _, c := range x.GetContainers() {
		container, err := c.container()
		if err != nil {
			return r, err
		}
		r.Containers = append(r.Containers, container)
	}
	for _, a := range x.GetAlerts() {
		r.Alerts = append(r.Alerts, workload.Alert{
			ID: a.GetId(), Kind: a.GetKind(), Node: r.Node, Severity: workload.Severity(a.GetSeverity()),
			Message: a.GetMessage(), Hint: a.GetHint(), RaisedAt: toTime(a.GetRaisedAt()),
		})
	}
	return r, nil
}

func fromContainer(c workload.Container) *ContainerStatus {
	x := &ContainerStatus{
		Id: c.ID, Name: c.Name, Image: c.Image, State: c.State, Health: c.Health, ExitCode: int32(c.ExitCode),
		Restarts: count(c.Restarts), CreatedAt: fromTime(c.CreatedAt), StartedAt: fromTimePtr(c.StartedAt),
		FinishedAt: fromTimePtr(c.FinishedAt), Labels: c.Labels,
	}
	for _, p := range c.Ports {
		x.Ports = append(x.Ports, &Port{HostIp: p.HostIP, HostPort: count(p.HostPort), ContainerPort: count(p.ContainerPort), Protocol: p.Protocol})
	}
	return x
}

func (x *ContainerStatus) container() (workload.Container, error) {
	c := workload.Container{
		ID: x.GetId(), Name: x.GetName(), Image: x.GetImage(), State: x.GetState(), Health: x.GetHealth(),
		ExitCode: int(x.GetExitCode()), Restarts: int(x.GetRestarts()), CreatedAt: toTime(x.GetCreatedAt()),
		StartedAt: toTimePtr(x.GetStartedAt()), FinishedAt: toTimePtr(x.GetFinishedAt()), Labels: x.GetLabels(), Ports: []workload.Port{},
	}
	for _, p := range x.GetPorts() {
		host, err := port("host_port", p.GetHostPort())
		if err != nil {
			return c, err
		}
		inner, err := port("container_port", p.GetContainerPort())
		if err != nil {
			return c, err
		}
		c.Ports = append(c.Ports, workload.Port{HostIP: p.GetHostIp(), HostPort: host, ContainerPort: inner, Protocol: p.GetProtocol()})
	}
	return c, nil
}

// FromPlan writes p; a plan without revision is absent on the wire.
func FromPlan(p workload.Plan) *Plan {
	if p.Revision == 0 {
		return nil
	}
	return &Plan{Node: p.Node, Revision: p.Revision, Name: p.Name, Labels: p.Labels,
		HeartbeatInterval: durationpb.New(time.Duration(p.HeartbeatInterval)), LogLevel: p.LogLevel, Role: string(p.Role)}
}

// ToPlan reads a plan; an absent one has revision 0.
func (x *Plan) ToPlan() workload.Plan {
	if x == nil {
		return workload.Plan{}
	}
	return workload.Plan{Node: x.GetNode(), Revision: x.GetRevision(), Name: x.GetName(), Labels: x.GetLabels(),
		HeartbeatInterval: topology.Duration(x.GetHeartbeatInterval().AsDuration()), LogLevel: x.GetLogLevel(), Role: topology.Role(x.GetRole())}
}

// FromView writes v without its AsOf, which is the reader's own.
func FromView(v workload.View) *View {
	x := &View{ClusterId: v.ClusterID, ClusterName: v.ClusterName, Revision: v.Revision}
	if c := v.Config; c != (topology.Config{}) {
		x.Config = &ClusterConfig{HeartbeatInterval: durationpb.New(time.Duration(c.HeartbeatInterval)), LogLevel: c.LogLevel, Approval: string(c.Approval)}
	}
	for _, n := range v.Nodes {
		i := &NodeInfo{Id: n.ID, Name: n.Name, Ip: n.IP, Role: string(n.Role), Status: string(n.Status),
			Resources: fromResources(n.Resources), Labels: n.Labels, Version: n.Version, Platform: fromPlatform(n.Platform),
			GossipPort: count(n.GossipPort), ApiPort: count(n.APIPort), CreatedAt: fromTime(n.CreatedAt),
			StatusSince: fromTime(n.StatusSince), LastHeartbeat: fromTimePtr(n.LastHeartbeat)}
		for _, r := range n.Reasons {
			i.Reasons = append(i.Reasons, string(r))
		}
		x.Nodes = append(x.Nodes, i)
	}
	return x
}

// ToView reads a view; what a newer master may have added is left out.
func (x *View) ToView() workload.View {
	v := workload.View{ClusterID: x.GetClusterId(), ClusterName: x.GetClusterName(), Revision: x.GetRevision()}
	if c := x.GetConfig(); c != nil {
		v.Config = topology.Config{HeartbeatInterval: topology.Duration(c.GetHeartbeatInterval().AsDuration()), LogLevel: c.GetLogLevel(), Approval: topology.Approval(c.GetApproval())}
	}
	for _, i := range x.GetNodes() {
		n := topology.Node{ID: i.GetId(), Name: i.GetName(), IP: i.GetIp(), Role: topology.Role(i.GetRole()),
			Status: topology.NodeStatus(i.GetStatus()), Reasons: topology.Reasons{}, Resources: i.GetResources().resources(),
			Labels: i.GetLabels(), Version: i.GetVersion(), Platform: i.GetPlatform().platform(),
			GossipPort: int(i.GetGossipPort()), APIPort: int(i.GetApiPort()), CreatedAt: toTime(i.GetCreatedAt()),
			StatusSince: toTime(i.GetStatusSince()), LastHeartbeat: toTimePtr(i.GetLastHeartbeat())}
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		for _, r := range i.GetReasons() {
			n.Reasons = n.Reasons.With(topology.Reason(r))
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}

// FromHeartbeat writes h.
func FromHeartbeat(h workload.Heartbeat) *HeartbeatRequest {
	u := h.Usage
	return &HeartbeatRequest{NodeId: h.Node, Sequence: h.Sequence, AppliedRevision: h.AppliedRevision, ApplyError: h.ApplyError,
		Usage: &Usage{At: fromTime(u.At), CpuPercent: u.CPUPercent, Load1: u.Load1, MemoryUsed: count(u.MemoryUsed),
			MemoryAvailable: count(u.MemoryAvailable), DiskUsedPercent: u.DiskUsedPercent, Temperature: u.Temperature,
			NetworkReceived: u.NetworkReceived, NetworkSent: u.NetworkSent, DeviceWritten: u.DeviceWritten,
			FlashMbPerDay: u.FlashMBPerDay, UptimeSeconds: u.UptimeSeconds}}
}

// Heartbeat reads the request.
func (x *HeartbeatRequest) Heartbeat() workload.Heartbeat {
	u := x.GetUsage()
	usage := topology.Usage{At: toTime(u.GetAt()), CPUPercent: u.GetCpuPercent(), Load1: u.GetLoad1(),
		MemoryUsed: int(u.GetMemoryUsed()), MemoryAvailable: int(u.GetMemoryAvailable()), DiskUsedPercent: u.GetDiskUsedPercent(),
		NetworkReceived: u.GetNetworkReceived(), NetworkSent: u.GetNetworkSent(), DeviceWritten: u.GetDeviceWritten(),
		FlashMBPerDay: u.GetFlashMbPerDay(), UptimeSeconds: u.GetUptimeSeconds()}
	if u != nil && u.Temperature != nil {
		usage.Temperature = u.Temperature
	}
	return workload.Heartbeat{Node: x.GetNodeId(), Sequence: x.GetSequence(), Usage: usage,
		AppliedRevision: x.GetAppliedRevision(), ApplyError: x.GetApplyError()}
}

// FromHello writes h.
func FromHello(h workload.Hello) *Hello {
	return &Hello{NodeId: h.Node, Instance: h.Instance, MachineId: h.MachineID, IpAddress: h.IP, GossipPort: count(h.GossipPort),
		ApiPort: count(h.APIPort), Version: h.Version, AppliedRevision: h.AppliedRevision, Time: fromTime(h.Time)}
}

// ToHello reads the opening of a session.
func (x *Hello) ToHello() (workload.Hello, error) {
	gossip, err := port("gossip_port", x.GetGossipPort())
	if err != nil {
		return workload.Hello{}, err
	}
	api, err := port("api_port", x.GetApiPort())
	return workload.Hello{Node: x.GetNodeId(), Instance: x.GetInstance(), MachineID: x.GetMachineId(), IP: x.GetIpAddress(),
		GossipPort: gossip, APIPort: api, Version: x.GetVersion(), AppliedRevision: x.GetAppliedRevision(), Time: toTime(x.GetTime())}, err
}

// FromNotice writes n.
func FromNotice(n workload.Notice) *MasterMessage {
	switch {
	case n.View != nil:
		return &MasterMessage{Message: &MasterMessage_View{FromView(*n.View)}}
	case n.Keyring != nil:
		return &MasterMessage{Message: &MasterMessage_Keyring{&Keyring{Keys: n.Keyring.Keys}}}
	case n.StatsQuery != 0:
		return &MasterMessage{Message: &MasterMessage_StatsQuery{n.StatsQuery}}
	case n.Ping != 0:
		return &MasterMessage{Message: &MasterMessage_Ping{n.Ping}}
	case n.Removed != "":
		return &MasterMessage{Message: &MasterMessage_Removed{n.Removed}}
	}
	return &MasterMessage{Message: &MasterMessage_PlanRevision{n.PlanRevision}}
}

// Notice reads a message; one of a kind that this version does not know is
// an empty notice.
func (x *MasterMessage) Notice() workload.Notice {
	switch m := x.GetMessage().(type) {
	case *MasterMessage_View:
		v := m.View.ToView()
		return workload.Notice{View: &v}
	case *MasterMessage_Keyring:
		return workload.Notice{Keyring: &workload.Keyring{Keys: m.Keyring.GetKeys()}}
	case *MasterMessage_StatsQuery:
		return workload.Notice{StatsQuery: m.StatsQuery}
	case *MasterMessage_Ping:
		return workload.Notice{Ping: m.Ping}
	case *MasterMessage_Removed:
		return workload.Notice{Removed: m.Removed}
	case *MasterMessage_PlanRevision:
		return workload.Notice{PlanRevision: m.PlanRevision}
	}
	return workload.Notice{}
}

// FromAnswer writes a.
func FromAnswer(a workload.Answer) *AgentMessage {
	if a.Stats == nil {
		return &AgentMessage{Message: &AgentMessage_Pong{a.Pong}}
	}
	s := &StatsAnswer{Query: a.Stats.Query, Error: a.Stats.Error, Stats: map[string]*ContainerStats{}}
	for id, c := range a.Stats.Stats {
		s.Stats[id] = &ContainerStats{CpuPercent: c.CPUPercent, MemoryBytes: c.MemoryBytes, MemoryLimit: c.MemoryLimit}
	}
	return &AgentMessage{Message: &AgentMessage_Stats{s}}
}

// Answer reads a message that is not a Hello.
func (x *AgentMessage) Answer() workload.Answer {
	s := x.GetStats()
	if s == nil {
		return workload.Answer{Pong: x.GetPong()}
	}
	a := &workload.StatsAnswer{Query: s.GetQuery(), Error: s.GetError(), Stats: map[string]workload.ContainerStats{}}
	for id, c := range s.GetStats() {
		a.Stats[id] = workload.ContainerStats{CPUPercent: c.GetCpuPercent(), MemoryBytes: c.GetMemoryBytes(), MemoryLimit: c.GetMemoryLimit()}
	}
	return workload.Answer{Stats: a}
}

func fromResources(r topology.Resources) *ResourceInfo {
	return &ResourceInfo{Cpu: count(r.CPU), Memory: count(r.Memory), Disk: count(r.Disk)}
}

func (x *ResourceInfo) resources() topology.Resources {
	return topology.Resources{CPU: int(x.GetCpu()), Memory: int(x.GetMemory()), Disk: int(x.GetDisk())}
}

func fromPlatform(p topology.Platform) *Platform {
	return &Platform{Os: p.OS, Arch: p.Arch, Variant: p.Variant, Kernel: p.Kernel, Model: p.Model}
}

func (x *Platform) platform() topology.Platform {
	return topology.Platform{OS: x.GetOs(), Arch: x.GetArch(), Variant: x.GetVariant(), Kernel: x.GetKernel(), Model: x.GetModel()}
}

// count writes a number that is never negative; a negative one is 0.
func count(n int) uint32 { return uint32(min(uint64(max(n, 0)), math.MaxUint32)) }

func port(field string, p uint32) (int, error) {
	if p > 65535 {
		return 0, fmt.Errorf("%s: %w: %d is not a port", field, topology.ErrInvalid, p)
	}
	return int(p), nil
}

func fromTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTimePtr(t *time.Time) *timestamppb.Timestamp {
	if t == nil {
		return nil
	}
	return fromTime(*t)
}

// toTime reads an absent or impossible time as the zero time.
func toTime(x *timestamppb.Timestamp) time.Time {
	if x == nil || x.CheckValid() != nil {
		return time.Time{}
	}
	return x.AsTime()
}

func toTimePtr(x *timestamppb.Timestamp) *time.Time {
	t := toTime(x)
	if t.IsZero() {
		return nil
	}
	return &t
}

// FromHeartbeatReply writes r.
func FromHeartbeatReply(r workload.HeartbeatReply) *HeartbeatResponse {
	return &HeartbeatResponse{PlanRevision: r.PlanRevision, MasterTime: fromTime(r.MasterTime)}
}

// Reply reads the answer to a heartbeat.
func (x *HeartbeatResponse) Reply() workload.HeartbeatReply {
	return workload.HeartbeatReply{PlanRevision: x.GetPlanRevision(), MasterTime: toTime(x.GetMasterTime())}
}
