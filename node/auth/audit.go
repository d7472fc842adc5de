package auth

import "time"

// AuditEntry is one operation that changed something, or that was denied.
type AuditEntry struct {
	At        time.Time `json:"at"`
	Principal string    `json:"principal"`
	Action    string    `json:"action"`
	Resource  string    `json:"resource"`
	// Outcome is "ok" or the kind of the error.
	Outcome string `json:"outcome"`
}
