package readiness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"
)

// dialTimeout bounds the wait for the master; a packet around the world needs
// a tenth of it, a SYN may be sent three times in it.
const dialTimeout = 3 * time.Second

// checkPorts binds each port for a moment. It can't tell who holds a taken
// one without looking into other processes; ss can.
func (c *Checker) checkPorts(ctx context.Context, _ Gate) finding {
	if len(c.opts.Ports) == 0 {
		return skip("none is to be free (a member's own daemon holds its ports)")
	}
	var free, taken, mend []string
	for _, p := range c.opts.Ports {
		_, port, _ := net.SplitHostPort(p.Addr)
		if err := bind(ctx, p); err != nil {
			taken = append(taken, fmt.Sprintf("%s (%s/%s): %s", p.Name, port, p.Network, bindProblem(err, p.Addr)))
			mend = append(mend, fmt.Sprintf("see who holds it with 'ss -Hlnp%c sport = :%s'", p.Network[0], port))
			continue
		}
		free = append(free, port+"/"+p.Network)
	}
	if len(taken) > 0 {
		return fail(strings.Join(mend, "; ")+"; stop it, or choose another port", "%s", strings.Join(taken, "; "))
	}
	return ok("%s free", strings.Join(free, ", "))
}

func bind(ctx context.Context, p Port) error {
	var lc net.ListenConfig
	if p.Network == "udp" {
		conn, err := lc.ListenPacket(ctx, "udp", p.Addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	l, err := lc.Listen(ctx, "tcp", p.Addr)
	if err != nil {
		return err
	}
	return l.Close()
}

func bindProblem(err error, addr string) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return "in use"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have the address of " + addr
	case errors.Is(err, syscall.EACCES):
		return "not allowed; run this as root"
	}
	return err.Error()
}

func (c *Checker) checkMaster(ctx context.Context, _ Gate) finding {
	addr := c.opts.Master
	if addr == "" {
		return skip("no master was named: --master MASTER")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	began := time.Now()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return fail(masterMend(err, addr), "%s can't be reached: %v", addr, err)
	}
	defer conn.Close()
	return ok("%s answers in %s", addr, roundTime(time.Since(began)))
}

func masterMend(err error, addr string) string {
	host, port, _ := net.SplitHostPort(addr)
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("nobody knows the name %s: use the master's IP address", host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("the board is there but nothing listens on port %s: look at 'piccolo status' on the master, and at the port", port)
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return fmt.Sprintf("there is no way to %s: check cable, Wi-Fi and 'ip route get %s'", host, host)
	}
	return fmt.Sprintf("no answer from %s: check that it is on, that 'ping %s' works and that no firewall blocks TCP port %s", host, host, port)
}

// checkGossip only warns: without UDP a node works, but its failure is seen
// later and it may be suspected for nothing.
func (c *Checker) checkGossip(ctx context.Context, _ Gate) finding {
	if c.opts.Gossip == nil {
		return skip("only `piccolo join` asks a master by UDP")
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if err := c.opts.Gossip(ctx); err != nil {
		return warn("open port 7946 for TCP and UDP in both directions, on this board and on the master (ufw: 'ufw allow 7946')", "no answer by UDP: %v", err)
	}
	return ok("UDP passes")
}
