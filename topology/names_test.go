package topology

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestValidateName(t *testing.T) {
	for _, good := range []string{"a", "7", "node-1", "raspberrypi", strings.Repeat("x", MaxNameLength), "a--b"} {
		if err := ValidateName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for name, hint := range map[string]string{
		"": "empty", strings.Repeat("x", MaxNameLength+1): "64 bytes", strings.Repeat("x", 300): "300 bytes",
		"two words": "a-z", "Küche": "a-z", "UPPER": "a-z", "-a": "a-z", "a-": "a-z", "a.b": "a-z", "a_b": "a-z",
		"a\nb": "a-z", "a\x00": "a-z", "../etc": "a-z",
	} {
		err := ValidateName(name)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("%.20q: %v; want a refusal with %q", name, err, hint)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.20q: the message has %d bytes", name, len(err.Error()))
		}
	}
}

func TestNameFrom(t *testing.T) {
	for host, want := range map[string]string{
		"board": "board", "Board.Local.": "board", "pi4.example.com": "pi4", "": "", ".x": "", "RPI": "rpi",
	} {
		if got := NameFrom(host); got != want {
			t.Errorf("%q: %q, want %q", host, got, want)
		}
	}
}

func TestValidateLabel(t *testing.T) {
	long := strings.Repeat("k", MaxLabelLength)
	for _, l := range [][2]string{
		{"a", ""}, {"zone", "kitchen"}, {"example.com/role", "door.1_x"}, {long, long}, {"A.b_C-d", "Z9"},
	} {
		if err := ValidateLabel(l[0], l[1]); err != nil {
			t.Errorf("%s=%s: %v", l[0], l[1], err)
		}
	}
	for _, l := range [][2]string{
		{"", "x"}, {"/x", "y"}, {"a/", "y"}, {"a/b/c", "y"}, {"-a", "y"}, {"a", "-y"}, {"a b", "y"}, {"a", "y z"},
		{long + "k", "y"}, {"a", long + "k"}, {"a", "ü"}, {strings.Repeat("p", 254) + "/a", "y"}, {"a", "x\n"},
	} {
		if err := ValidateLabel(l[0], l[1]); err == nil {
			t.Errorf("%.30q=%.30q was accepted", l[0], l[1])
		} else if len(err.Error()) > 400 {
			t.Errorf("%.30q: the message has %d bytes", l[0], len(err.Error()))
		}
	}
}

func TestValidateLabels(t *testing.T) {
	many := map[string]string{}
	for i := range MaxLabels {
		many["k"+strings.Repeat("x", i)] = ""
	}
	for k := range many {
		if len(k) > MaxLabelLength {
			delete(many, k)
		}
	}
	if err := ValidateLabels(many); err != nil {
		t.Errorf("%d labels: %v", len(many), err)
	}
	for i := 0; len(many) <= MaxLabels; i++ {
		many["m"+strings.Repeat("y", i)] = ""
	}
	if err := ValidateLabels(many); err == nil {
		t.Errorf("%d labels were accepted", len(many))
	}
	if err := ValidateLabels(map[string]string{"good": "1", "bad key": "2"}); err == nil || !strings.Contains(err.Error(), "bad key") {
		t.Errorf("%v does not name the label", err)
	}
}

// FuzzValidate: whatever comes, no panic, and what is accepted is short and
// printable ASCII.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{"", "a", "node-1", "Küche", strings.Repeat("x", 300), "a/b", "\xff\xfe"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		name, label := ValidateName(a), ValidateLabel(a, b)
		for _, s := range []string{a, b} {
			if strings.ContainsFunc(s, func(r rune) bool { return r < '-' || r > 'z' }) && label == nil {
				t.Errorf("label %q=%q was accepted", a, b)
			}
		}
		if name == nil && (len(a) > MaxNameLength || label != nil && b == "") {
			t.Errorf("name %q is valid and as a label's key it is not: %v", a, label)
		}
	})
}

// TestGeneratedNames: what the pattern says is what is accepted.
func TestGeneratedNames(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`).Draw(t, "name")
		if err := ValidateName(name); err != nil {
			t.Fatal(err)
		}
		if got := NameFrom(strings.ToUpper(name) + ".lan"); got != name {
			t.Fatalf("%q became %q", name, got)
		}
	})
}
