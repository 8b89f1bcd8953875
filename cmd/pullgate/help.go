package main

import (
	"io"
	"os"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

const upgradeHelp = `Caddy's download service does not know this binary, and cannot replace it.

To upgrade Pullgate, install a newer release in the way this one was installed:
  package:    install the package of the newer release
  container:  pull the image of the newer release
  source:     go install github.com/pullgate/pullgate/cmd/pullgate@latest

To have other Caddy modules in it, build one with xcaddy:
  xcaddy build --with github.com/pullgate/pullgate --with <module>

"pullgate version" tells which one this is.
`

// replacing are the commands of Caddy that replace the binary. They look for modules
// of others, and panic where there are none.
var replacing = []string{"upgrade", "add-package", "remove-package"}

// asksHelp reports whether arguments ask what a command does.
func asksHelp(args []string) bool {
	return args[0] == "help" || slices.Contains(args, "--help") || slices.Contains(args, "-h")
}

// replacesBinary reports whether arguments are such a command, or ask what it does.
func replacesBinary(args []string) bool {
	if len(args) > 1 && args[0] == "help" {
		args = args[1:]
	}
	return len(args) > 0 && slices.Contains(replacing, args[0])
}

// isHelp reports whether arguments ask what commands there are.
func isHelp(args []string) bool {
	return len(args) == 0 || len(args) == 1 && slices.Contains([]string{"help", "--help", "-h"}, args[0])
}

// printHelp prints Caddy's list of commands, as they are here: its examples are fixed,
// and nobody can take a command out.
func printHelp() {
	stdout := os.Stdout
	read, write, err := os.Pipe()
	if err != nil {
		caddycmd.Main()
		return
	}
	printed := make(chan string)
	go func() {
		text, _ := io.ReadAll(read)
		printed <- string(text)
	}()
	os.Stdout = write
	caddycmd.Main()
	os.Stdout = stdout
	_ = write.Close()
	_, _ = io.WriteString(stdout, ownHelp(<-printed))
}

// ownHelp makes Caddy's help that of this binary.
func ownHelp(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.HasPrefix(line, "  ") && slices.Contains(replacing, fields[0]) {
			continue
		}
		line = strings.Replace(line, "$ caddy ", "$ pullgate ", 1)
		if line == "Examples:\n" {
			line += "  $ pullgate mirror serve docker.io ghcr.io\n  $ pullgate mirror client-config docker --endpoint http://gate:5000\n"
		}
		b.WriteString(line)
	}
	return b.String()
}
