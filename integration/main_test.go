//go:build integration

package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const buildTags = "nobadger,nomysql,nopgx"

// binary is the pullgate under test, packages the folder of the downloaded
// Debian packages; both are set by TestMain and never again.
var binary, packages string

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	if err := checkMachine(); err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	dir, err := os.MkdirTemp("", "pullgate-integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, "integration:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	packages = dir
	if binary = os.Getenv("PULLGATE_BINARY"); binary == "" {
		if binary, err = buildBinary(dir); err != nil {
			fmt.Fprintln(os.Stderr, "integration:", err)
			return 1
		}
	}
	return m.Run()
}

// checkMachine says at once, and all of it, what is missing.
func checkMachine() error {
	// Debian keeps dockerd where users' shells do not look.
	if err := os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin"); err != nil {
		return err
	}
	var missing []string
	for _, command := range []string{
		"apt-get", "chromium", "containerd", "ctr", "docker-registry", "dockerd", "dpkg-deb", "mkfs.ext4", "podman", "runc", "skopeo", "strace",
	} {
		if _, err := exec.LookPath(command); err != nil {
			missing = append(missing, command)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("not installed: %s", strings.Join(missing, " "))
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("containerd and dockerd need root; the user id is %d", os.Geteuid())
	}
	return nil
}

func buildBinary(dir string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	output := filepath.Join(dir, "pullgate")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", buildTags, "-o", output, "../cmd/pullgate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pullgate: %w\n%s", err, out)
	}
	return output, nil
}
