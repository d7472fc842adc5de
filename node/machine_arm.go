package node

import "runtime/debug"

// armVariant is the ARM version that the binary was built for: v6 or v7.
func armVariant() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "GOARM" {
			return "v" + s.Value[:1]
		}
	}
	return ""
}
