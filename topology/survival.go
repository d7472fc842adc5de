package topology

import "fmt"

// Voters is how many of so many masters vote on what is stored: the largest odd
// number, because an even one survives no more losses than the odd one below
// it. Of two masters the second follows as a standby.
func Voters(masters int) int {
	if masters < 1 {
		return 0
	}
	return masters - (masters+1)%2
}

// Survival says in words how many more masters the cluster can lose, and what
// to do about it.
func Survival(nodes []Node) string {
	masters, lost := 0, ""
	reached := 0
	for _, n := range nodes {
		if n.Role != RoleMaster || n.Status == StatusPending || n.Status == StatusTerminating {
			continue
		}
		masters++
		if n.Reasons.Has(ReasonUnreachable) || n.Reasons.Has(ReasonHeartbeatMissed) {
			lost = n.Name
			continue
		}
		reached++
	}
	const promote = "`piccolo node promote NODE`"
	switch masters {
	case 0:
		return ""
	case 1:
		return "The cluster survives the loss of no master, it has one: without it containers go on running and nothing can be changed. Two more make it survive the loss of any one: " + promote + "."
	case 2:
		return "The cluster survives the loss of its standby, not of its active master: a third one makes it survive the loss of any one: " + promote + "."
	}
	spare := min(reached, Voters(masters)) - (Voters(masters)/2 + 1)
	switch {
	case spare > 1:
		return fmt.Sprintf("The cluster survives the loss of %d more masters.", spare)
	case spare == 1:
		return "The cluster survives the loss of one more master."
	case spare == 0 && lost != "":
		return "The cluster survives the loss of no more master: bring " + lost + " back, or `piccolo node rm " + lost + "` and " + promote + "."
	}
	return "Too few masters are reached: nothing can be changed until " + lost + " is back."
}
