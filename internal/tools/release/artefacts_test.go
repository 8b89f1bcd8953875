package release

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// version is one that no release has.
const version = "v0.0.1"

// repository is where the checkout begins.
var repository = sync.OnceValue(func() string {
	root, err := filepath.Abs("../../..")
	if err != nil {
		panic(err)
	}
	return root
})

// gateway returns the binary of this checkout, which make builds before it runs this.
func gateway(t *testing.T) string {
	t.Helper()
	name := filepath.Join(repository(), "bin", "pullgate")
	if _, err := os.Stat(name); err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	return name
}

// run runs a command, and returns what it prints.
func run(t *testing.T, folder, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "RELEASE_TARGETS=linux/"+runtime.GOARCH, "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// folder is for what all tests look at, output for the artefacts.
var folder, output string

// artefacts builds them once.
var artefacts = sync.OnceValue(func() error {
	cmd := exec.Command(filepath.Join(repository(), "internal/tools/release/make"), version, output)
	cmd.Env = append(os.Environ(), "RELEASE_TARGETS=linux/"+runtime.GOARCH)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
})

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "pullgate-release-"); err != nil {
		panic(err)
	}
	output = filepath.Join(folder, "artefacts")
	code := m.Run()
	_ = os.RemoveAll(folder)
	os.Exit(code)
}

func built(t *testing.T) string {
	t.Helper()
	if err := artefacts(); err != nil {
		t.Fatal(err)
	}
	return output
}

// A copy of the checkout in another folder makes the same bytes.
func TestReleaseIsReproducible(t *testing.T) {
	first, copied, second := built(t), filepath.Join(t.TempDir(), "elsewhere"), t.TempDir()
	run(t, repository(), "git", "clone", "--quiet", "--no-hardlinks", ".", copied)
	if run(t, repository(), "git", "status", "--porcelain") != "" {
		t.Log("the checkout has changes that are not committed: they are in one build only")
	}
	run(t, copied, filepath.Join(copied, "internal/tools/release/make"), version, second)
	sums := func(folder string) string {
		raw, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	if one, two := sums(first), sums(second); one != two {
		t.Errorf("two builds differ:\n%s\n%s", one, two)
	}
	run(t, first, "sha256sum", "--check", "--strict", "SHA256SUMS")
}

func TestBillOfMaterials(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(built(t), "pullgate_0.0.1_linux_"+runtime.GOARCH+".sbom.json"))
	if err != nil {
		t.Fatal(err)
	}
	var bom struct {
		Format     string `json:"bomFormat"`
		Components []struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		} `json:"components"`
	}
	if err := json.Unmarshal(raw, &bom); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, c := range bom.Components {
		found[c.Name] = c.Version
	}
	for _, name := range []string{"github.com/caddyserver/caddy/v2", "github.com/dgraph-io/badger/v4", "std"} {
		if found[name] == "" {
			t.Errorf("%s is not in the bill of materials of %d components", name, len(found))
		}
	}
	if bom.Format != "CycloneDX" {
		t.Errorf("format %q", bom.Format)
	}
}
