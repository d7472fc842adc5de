package topology

import (
	"fmt"
	"regexp"
	"strings"
)

// MaxNameLength and MaxLabelLength are the limits of RFC 1123 for one label
// of a host name, in bytes.
const (
	MaxNameLength  = 63
	MaxLabelLength = 63
	// MaxLabels bounds how many labels a node may carry.
	MaxLabels = 64
)

var (
	namePattern  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)
	labelPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)
)

// ValidateName checks the name of a node or a cluster: an RFC 1123 label in
// lower case, 1 to 63 bytes of a–z, 0–9 and '-', no '-' at either end.
func ValidateName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("name is empty: use 1 to %d of a-z, 0-9 and '-'", MaxNameLength)
	case len(name) > MaxNameLength:
		return fmt.Errorf("name %q… is %d bytes long: at most %d are allowed", name[:16], len(name), MaxNameLength)
	case !namePattern.MatchString(name):
		return fmt.Errorf("name %q is not valid: use a-z, 0-9 and '-', with a letter or digit at both ends", name)
	}
	return nil
}

// NameFrom makes a valid node name out of a host name: the first label in
// lower case. The result may still be invalid where the host name has no
// usable character; ValidateName says so.
func NameFrom(hostname string) string {
	first, _, _ := strings.Cut(strings.ToLower(hostname), ".")
	return first
}

// ValidateLabel checks one label. A key is a name of 1 to 63 bytes of
// letters, digits, '.', '_' and '-', optionally after a prefix such as
// "example.com/". A value is empty or of the same form as a name. These are
// Kubernetes' rules, so that labels can be carried over.
func ValidateLabel(key, value string) error {
	name := key
	if prefix, rest, ok := strings.Cut(key, "/"); ok {
		name = rest
		if len(prefix) > 253 || !labelPattern.MatchString(prefix) {
			return fmt.Errorf("label %q: the part before '/' is not a domain name", shorten(key))
		}
	}
	if len(name) > MaxLabelLength || !labelPattern.MatchString(name) {
		return fmt.Errorf("label %q: a key is 1 to %d letters, digits, '.', '_' and '-', with a letter or digit at both ends", shorten(key), MaxLabelLength)
	}
	if value != "" && (len(value) > MaxLabelLength || !labelPattern.MatchString(value)) {
		return fmt.Errorf("label %s: value %q is not valid: at most %d letters, digits, '.', '_' and '-', with a letter or digit at both ends", key, shorten(value), MaxLabelLength)
	}
	return nil
}

// ValidateLabels checks a whole set of labels and its size.
func ValidateLabels(labels map[string]string) error {
	if len(labels) > MaxLabels {
		return fmt.Errorf("%d labels are too many: at most %d are allowed", len(labels), MaxLabels)
	}
	for k, v := range labels {
		if err := ValidateLabel(k, v); err != nil {
			return err
		}
	}
	return nil
}

// shorten keeps an error readable when the input is huge.
func shorten(s string) string {
	if len(s) <= 80 {
		return s
	}
	return s[:80] + "…"
}
