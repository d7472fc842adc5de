//go:build lab

package lab

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ping sends count packets, 5 ms apart, and returns how many came back and the mean round trip.
func (b *Board) ping(to string, count int) (int, time.Duration) {
	b.lab.t.Helper()
	out, err := b.TryExec(b.lab.t.Context(), "ping", "-q", "-c", strconv.Itoa(count), "-i", "0.005", "-W", "1", to)
	if err != nil && exitCode(err) != 1 { // 1: some did not come back
		b.lab.t.Fatalf("ping %s from %s: %v", to, b.Name, err)
	}
	received := regexp.MustCompile(`(\d+) received`).FindStringSubmatch(out)
	if received == nil {
		b.lab.t.Fatalf("ping says %q", out)
	}
	n, _ := strconv.Atoi(received[1])
	var mean float64
	if times := regexp.MustCompile(`= [\d.]+/([\d.]+)/`).FindStringSubmatch(out); times != nil {
		mean, _ = strconv.ParseFloat(times[1], 64)
	}
	return n, time.Duration(mean * float64(time.Millisecond))
}

// reaches fails the test unless pings from one board to the other come back, or don't.
func reaches(t *testing.T, from, to *Board, want bool) {
	t.Helper()
	if n, _ := from.ping(to.Address(), 3); (n > 0) != want {
		t.Errorf("%d of 3 pings from %s to %s come back, want any: %v", n, from.Name, to.Name, want)
	}
}

// heard counts the pings that reached the board.
func (b *Board) heard() int {
	b.lab.t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(b.Exec("awk", `/^Icmp: [0-9]/ { print $10 }`, "/proc/net/snmp")))
	if err != nil {
		b.lab.t.Fatalf("pings heard by %s: %v", b.Name, err)
	}
	return n
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"bridge", "tap"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			l := Up(t, 3, Options{Switch: kind})
			one, two, three := l.Board(1), l.Board(2), l.Board(3)
			if n, _ := one.ping("board2", 3); n == 0 {
				t.Error("board1 does not reach board2 by name")
			}

			l.Cut(one, two)
			reaches(t, one, two, false)
			reaches(t, one, three, true)
			l.Heal()
			reaches(t, one, two, true)
			testOneWay(t, l)
			testLoss(t, l)
			testCable(t, l)

			two.SetAddress("10.77.0.200")
			reaches(t, one, two, true)
			if n, _ := one.ping("board2", 3); n == 0 {
				t.Error("board1 does not reach board2 by name after its address changed")
			}
			reaches(t, l.Add(Options{}), one, true)
			out, err := one.TryExec(t.Context(), "ping", "-c", "1", "-W", "5", "192.0.2.1")
			expect(t, fmt.Sprint("the way out of the lab: ", err), out, "Unreachable")
		})
	}
}

func testOneWay(t *testing.T, l *Lab) {
	t.Helper()
	one, two := l.Board(1), l.Board(2)
	// Both know each other's hardware address, or the cut would silence both ways.
	reaches(t, one, two, true)
	l.CutOneWay(one, two)
	defer l.Heal()
	heardOne, heardTwo := one.heard(), two.heard()
	reaches(t, two, one, false)
	reaches(t, one, two, false)
	if got := one.heard() - heardOne; got != 3 {
		t.Errorf("board1 heard %d of 3 pings over the way that is not cut", got)
	}
	if got := two.heard() - heardTwo; got != 0 {
		t.Errorf("board2 heard %d pings over the way that is cut", got)
	}
}

func testLoss(t *testing.T, l *Lab) {
	t.Helper()
	one, two := l.Board(1), l.Board(2)
	two.Loss(30)
	// Each ping passes twice: 49 % come back. Eight standard deviations of 400 pings are 20 %.
	if n, _ := one.ping(two.Address(), 400); n < 116 || n > 276 {
		t.Errorf("%d of 400 pings come back at 30 %% loss each way, want about 196", n)
	}
	two.Loss(0)
	if n, _ := one.ping(two.Address(), 50); n != 50 {
		t.Errorf("%d of 50 pings come back without loss", n)
	}
}

func testCable(t *testing.T, l *Lab) {
	t.Helper()
	one, two := l.Board(1), l.Board(2)
	two.Unplug()
	link := two.Exec("ip", "addr", "show", "eth0")
	expect(t, "link of an unplugged board", link, "NO-CARRIER")
	expect(t, "link of an unplugged board", link, "10.77.0.12/24")
	reaches(t, one, two, false)
	two.Plug()
	l.Eventually(10*time.Second, "board2 is back", func() error {
		if n, _ := one.ping(two.Address(), 3); n == 0 {
			return fmt.Errorf("no ping comes back")
		}
		return nil
	})
}

func TestDelay(t *testing.T) {
	t.Parallel()
	l := Up(t, 2, Options{Switch: "tap"})
	one, two := l.Board(1), l.Board(2)
	one.Delay(40*time.Millisecond, 10*time.Millisecond)
	// Each ping passes the delayed port twice. A busy machine may only add to it.
	if _, mean := two.ping(one.Address(), 20); mean < 80*time.Millisecond {
		t.Errorf("a ping takes %v, want 80 to 100 ms", mean)
	}
	one.Delay(0, 0)
	if n, mean := two.ping(one.Address(), 20); n != 20 || mean > 40*time.Millisecond {
		t.Errorf("%d of 20 pings come back after %v, want all, without a delay", n, mean)
	}
}
