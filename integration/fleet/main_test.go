//go:build fleet

package fleet

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

const buildTags = "nobadger,nomysql,nopgx"

// binary is the pullgate under test, and server the S3 server; both are set by TestMain
// and never again.
var binary, server string

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "pullgate-fleet")
	if err == nil {
		defer os.RemoveAll(dir)
		binary, err = gateway(dir)
	}
	if err == nil {
		if server, err = filepath.Abs("../../bin/versitygw"); err == nil {
			_, err = os.Stat(server)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		return 1
	}
	return m.Run()
}

// gateway returns the binary that PULLGATE_BINARY names, or builds one.
func gateway(dir string) (string, error) {
	if named := os.Getenv("PULLGATE_BINARY"); named != "" {
		return named, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	output := filepath.Join(dir, "pullgate")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", buildTags, "-o", output, "../../cmd/pullgate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build pullgate: %w\n%s", err, out)
	}
	return output, nil
}
