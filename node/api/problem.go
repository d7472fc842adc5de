package api

import (
	"net/http"
	"strings"
)

// Names of the HTTP side that server and client share.
const (
	// ProblemType is the media type of a Problem (RFC 9457).
	ProblemType = "application/problem+json"
	// AsOfHeader carries the time (RFC 3339) of the last word from a master
	// where an answer is not live.
	AsOfHeader = "Piccolo-As-Of"
	// problemURN begins a problem's type; the kind follows.
	problemURN = "urn:piccolo:problem:"
)

// Problem is an error as HTTP carries it: RFC 9457, with kind and hint as
// extensions.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is what was being done to what, and why it failed.
	Detail string `json:"detail"`
	// Instance is the path of the request, without its query; empty for a
	// problem that no request has met.
	Instance string `json:"instance,omitempty"`
	Kind     Kind   `json:"kind"`
	// Hint says what to try.
	Hint string `json:"hint,omitempty"`
	// Reasons lists every one where there are several.
	Reasons []string `json:"reasons,omitempty"`
}

// ProblemOf makes the problem document of e for the request of a path. A
// status other than 0 takes the place of the kind's own, together with that
// status' name as title.
func ProblemOf(e *Error, status int, path string) Problem {
	codes := e.Kind.Codes()
	p := Problem{
		Type:     problemURN + string(codes.Kind),
		Title:    codes.Title,
		Status:   codes.HTTP,
		Detail:   e.Message,
		Instance: path,
		Kind:     codes.Kind,
		Hint:     e.Hint,
	}
	if status != 0 && status != p.Status {
		p.Status, p.Title = status, http.StatusText(status)
	}
	return p
}

// Err turns a problem that was received back into the error. A problem that
// does not name a known kind gets the kind of its status.
func (p Problem) Err() *Error {
	e := &Error{Kind: p.Kind, Message: p.Detail, Hint: p.Hint}
	if p.Kind.Codes().Kind != p.Kind {
		e.Kind = KindOfHTTP(p.Status)
	}
	if e.Message == "" {
		e.Message = strings.TrimSpace(p.Title)
	}
	if e.Message == "" {
		e.Message = "the server answered " + http.StatusText(p.Status)
	}
	return e
}

// KindOfHTTP returns the kind that a bare HTTP status stands for.
func KindOfHTTP(status int) Kind {
	for _, c := range Kinds() {
		if c.HTTP == status {
			return c.Kind
		}
	}
	switch {
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout:
		return KindUnavailable
	case status >= 400 && status < 500:
		return KindInvalid
	}
	return KindInternal
}
