// Command pullgate is Caddy with its standard modules and the registry mirror:
// a ready-built pull-through gateway for container registries.
//
// It takes every command and flag of Caddy, and mirror and registry-mirror besides;
// only those that replace the binary by a Caddy from its download service say instead
// how this one is upgraded.
package main

import (
	"os"
	_ "time/tzdata" // time zones for log formats, also in a container that has none

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/pullgate/pullgate"
)

func main() {
	caddy.CustomBinaryName = "pullgate"
	caddy.CustomLongDescription = "Pullgate is Caddy with a pull-through mirror for container registries."
	switch args := os.Args[1:]; {
	case replacesBinary(args) && asksHelp(args):
		os.Stdout.WriteString(upgradeHelp)
	case replacesBinary(args):
		os.Stderr.WriteString("Error: " + upgradeHelp)
		os.Exit(caddy.ExitCodeFailedStartup)
	case isHelp(args):
		printHelp()
	default:
		caddycmd.Main()
	}
}
