package cli

import (
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	ucli "github.com/urfave/cli/v2"
	"pgregory.net/rapid"

	"piccolo.io/piccolo/node/api"
)

func testProgram() *ucli.App {
	return newApp(Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}, Environment{Build: Build{Version: "v1"}}).program()
}

func TestArrange(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"flag after argument", "join 10.0.0.1 --token X", "join --token X -- 10.0.0.1"},
		{"flag before argument", "join --token X 10.0.0.1", "join --token X -- 10.0.0.1"},
		{"value with =", "join 10.0.0.1 --token=X --foreground", "join --token=X --foreground -- 10.0.0.1"},
		{"one dash", "join 10.0.0.1 -token X", "join -token X -- 10.0.0.1"},
		{"bool takes no value", "node rm --yes board-2", "node rm --yes -- board-2"},
		{"bool with value", "node rm board-2 --yes=false", "node rm --yes=false -- board-2"},
		{"value like a flag", "join m --token --yes", "join --token --yes -- m"},
		{"value like a command", "node label x a=b --output json", "--output json node label -- x a=b"},
		{"global flag last", "node ls -o json", "-o json node ls"},
		{"global flag between", "node -o json ls", "-o json node ls"},
		{"repeated flag keeps its order", "join m --label a=1 --token t --label b=2", "join --label a=1 --token t --label b=2 -- m"},
		{"nothing is a flag after --", "node show -- --help", "node show -- --help"},
		{"-- alone", "node ls --", "node ls"},
		{"second -- is a word", "node label x -- a=b -- c=d", "node label -- x a=b -- c=d"},
		{"a dash alone is a word", "node show -", "node show -- -"},
		{"a value glued to its flag", "node ls -ojson", "-o json node ls"},
		{"a local one", "topology apply -fx.yaml", "topology apply -f x.yaml"},
		{"help as a word", "node help", "node --help"},
		{"help as the first word", "help node rm", "node rm --help"},
		{"help as an argument", "node show help", "node show -- help"},
		{"help after an argument", "join m --help", "join --help -- m"},
		{"help before the command", "--help node", "node --help"},
		{"empty word", "node show", "node show"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := arrange(testProgram(), append([]string{"piccolo"}, strings.Fields(tc.in)...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]string{"piccolo"}, strings.Fields(tc.want)...), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestArrangeRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"joni m":                           `unknown command "joni" for "piccolo" (did you mean "join"? Otherwise see: piccolo --help)`,
		"node lss":                         `unknown command "lss" for "piccolo node" (did you mean "ls"? Otherwise see: piccolo node --help)`,
		"-- status":                        `unknown command "status" for "piccolo"`,
		"join m --tokne=secret":            `unknown flag "--tokne" for "piccolo join" (did you mean --token?`,
		"join m --token":                   `flag --token needs a value`,
		"status --token x":                 `unknown flag "--token" for "piccolo status"`,
		"--token x join m":                 `unknown flag "--token" for "piccolo"`,
		"ps -ajson":                        `unknown flag "-ajson" for "piccolo ps"`,
		"qqqqqqqq":                         `unknown command "qqqqqqqq" for "piccolo" (see: piccolo --help)`,
		"node " + strings.Repeat("é", 300): `unknown command "` + strings.Repeat("é", 80) + `…" for "piccolo node"`,
	} {
		_, err := arrange(testProgram(), append([]string{"piccolo"}, strings.Fields(in)...))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", in, err, want)
			continue
		}
		if classify(err).Kind != api.KindInvalid {
			t.Errorf("%s: kind %s", in, classify(err).Kind)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the value of an unknown flag is told: %v", in, err)
		}
	}
}

// drawn is a command line as a person may mean it: what belongs to which
// level, without an order.
type drawn struct {
	path          []string
	global, local [][]string
	words         []string
}

func drawLine(t *rapid.T) drawn {
	word := rapid.StringMatching(`[a-z0-9=.:-]{1,8}`).Filter(func(s string) bool { return s[0] != '-' })
	value := rapid.OneOf(word, rapid.Just("--yes"), rapid.Just("-"), rapid.Just(""), rapid.Just("node"))
	flag := func(names, bools []string) *rapid.Generator[[]string] {
		return rapid.Custom(func(t *rapid.T) []string {
			if rapid.IntRange(0, 2).Draw(t, "bool") == 0 && len(bools) > 0 {
				return []string{"--" + rapid.SampledFrom(bools).Draw(t, "name") + rapid.SampledFrom([]string{"", "=true"}).Draw(t, "value")}
			}
			name := rapid.SampledFrom([]string{"-", "--"}).Draw(t, "dashes") + rapid.SampledFrom(names).Draw(t, "name")
			if rapid.Bool().Draw(t, "equals") {
				return []string{name + "=" + value.Draw(t, "value")}
			}
			return []string{name, value.Draw(t, "value")}
		})
	}
	d := rapid.SampledFrom([]drawn{{path: []string{"join"}}, {path: []string{"node", "rm"}}, {path: []string{"topology", "apply"}}}).Draw(t, "command")
	names := map[string][2][]string{
		"join": {{"token", "label", "name"}, {"foreground"}}, "node": {nil, {"yes", "y"}}, "topology": {{"file", "f"}, nil},
	}[d.path[0]]
	d.global = rapid.SliceOfN(flag([]string{"o", "output", "data-dir"}, nil), 0, 3).Draw(t, "global")
	if names[0] != nil {
		d.local = rapid.SliceOfN(flag(names[0], names[1]), 0, 4).Draw(t, "local")
	} else {
		d.local = rapid.SliceOfN(rapid.Map(rapid.SampledFrom(names[1]), func(n string) []string { return []string{"--" + n} }), 0, 4).Draw(t, "local")
	}
	d.words = rapid.SliceOfN(word, 0, 3).Draw(t, "words")
	return d
}

// shuffle puts a drawn line in one of the orders that a person may type.
func (d drawn) shuffle(t *rapid.T) []string {
	global, local, words, path := slices.Clone(d.global), slices.Clone(d.local), slices.Clone(d.words), slices.Clone(d.path)
	out := []string{"piccolo"}
	for {
		var choices []string
		if len(global) > 0 {
			choices = append(choices, "global")
		}
		if len(path) > 0 {
			choices = append(choices, "path")
		} else {
			if len(local) > 0 {
				choices = append(choices, "local")
			}
			if len(words) > 0 {
				choices = append(choices, "word")
			}
			if len(local)+len(global) == 0 {
				choices = append(choices, "end")
			}
		}
		switch rapid.SampledFrom(choices).Draw(t, "next") {
		case "global":
			out, global = append(out, global[0]...), global[1:]
		case "local":
			out, local = append(out, local[0]...), local[1:]
		case "path":
			out, path = append(out, path[0]), path[1:]
		case "word":
			out, words = append(out, words[0]), words[1:]
		case "end":
			if len(words) > 0 {
				out = append(append(out, "--"), words...)
			}
			return out
		}
	}
}

// canonical is the one order that arrange is to find.
func (d drawn) canonical() []string {
	out := append([]string{"piccolo"}, slices.Concat(d.global...)...)
	out = append(append(out, d.path...), slices.Concat(d.local...)...)
	if len(d.words) > 0 {
		out = append(append(out, "--"), d.words...)
	}
	return out
}

func TestArrangeFindsTheOneOrder(t *testing.T) {
	program := testProgram()
	rapid.Check(t, func(t *rapid.T) {
		d := drawLine(t)
		in := d.shuffle(t)
		got, err := arrange(program, in)
		if err != nil {
			t.Fatalf("%q: %v", in, err)
		}
		if diff := cmp.Diff(d.canonical(), got); diff != "" {
			t.Fatalf("%q (-want +got)\n%s", in, diff)
		}
	})
}

func TestArrangeLosesNothing(t *testing.T) {
	program := testProgram()
	token := rapid.OneOf(
		rapid.SampledFrom([]string{"node", "ls", "join", "rm", "--", "-", "-o", "json", "--token", "--token=x", "--yes", "-y", "--help", "-h", "--label=a=b", "", "---", "-=", "--=x", "-v"}),
		rapid.String(),
	)
	rapid.Check(t, func(t *rapid.T) {
		in := append([]string{"piccolo"}, rapid.SliceOfN(token, 0, 8).Draw(t, "args")...)
		out, err := arrange(program, in)
		if err != nil {
			return // refused aloud
		}
		kept := func(args []string) []string {
			args = slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "--" })
			slices.Sort(args)
			return args
		}
		if diff := cmp.Diff(kept(in), kept(out)); diff != "" {
			t.Fatalf("%q → %q\n%s", in, out, diff)
		}
		again, err := arrange(program, out)
		if err != nil || !slices.Equal(again, out) {
			t.Fatalf("%q is arranged anew as %q: %v", out, again, err)
		}
	})
}
