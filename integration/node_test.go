//go:build integration

package integration

import (
	"path/filepath"
	"testing"
)

// gatewayName is what nodes know a gateway by.
const gatewayName = "mirror.example.com"

// node has an /etc of its own, a copy of the machine's: programs that run on it find
// their configuration where they look for it, and the machine's is left alone.
type node struct {
	etc, home string
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{etc: filepath.Join(t.TempDir(), "etc"), home: t.TempDir()}
	run(t, nil, "cp", "--archive", "/etc", n.etc)
	writeFile(t, "127.0.0.1 localhost\n::1 "+gatewayName+"\n", n.etc, "hosts")
	return n
}

// within returns the start of a command line that makes the rest of it run on the
// node. It replaces itself by that, so there is one process.
func (n *node) within() []string {
	return []string{"unshare", "--mount", "--propagation", "private", "sh", "-c", `mount --bind "$0" /etc && exec "$@"`, n.etc}
}

// env is for all that runs on the node.
func (n *node) env() []string {
	return []string{"HOME=" + n.home, "XDG_CONFIG_HOME=", "XDG_RUNTIME_DIR=", "DOCKER_CONFIG="}
}
