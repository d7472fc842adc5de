package cli

import (
	"fmt"
	"io"
	"runtime"

	ucli "github.com/urfave/cli/v2"
)

// versionAnswer is the shape of `piccolo version -o json`.
type versionAnswer struct {
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	BuildTime string `json:"build_time"`
	Go        string `json:"go"`
	OS        string `json:"os"`
	Arch      string `json:"arch"`
}

func (a *app) versionCommand() *ucli.Command {
	return &ucli.Command{
		Name: "version", Usage: "print what this program is",
		Description: examples("piccolo version", "piccolo version -o json"),
		Action: func(c *ucli.Context) error {
			if _, err := words(c); err != nil {
				return err
			}
			b := a.env.Build
			v := versionAnswer{b.Version, b.Commit, b.Time, runtime.Version(), runtime.GOOS, runtime.GOARCH}
			return a.print(v, func(w io.Writer) {
				fmt.Fprintf(w, "piccolo %s %s/%s\n", v.Version, v.OS, v.Arch)
				if a.wide() {
					fmt.Fprintf(w, "commit %s, built %s, %s\n", orDash(v.Commit), orDash(v.BuildTime), v.Go)
				}
			})
		},
	}
}
