package release

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
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

// output is where the artefacts go that all tests look at.
var output string

// artefacts builds them once.
var artefacts = sync.OnceValue(func() error {
	cmd := exec.Command(filepath.Join(repository(), "internal/tools/release/make"), version, output)
	cmd.Env = append(os.Environ(), "RELEASE_TARGETS=linux/"+runtime.GOARCH)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	return cmd.Run()
})

func TestMain(m *testing.M) {
	var err error
	if output, err = os.MkdirTemp("", "pullgate-release-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(output)
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

// The package works on a system that has nothing else: it installs, its unit is sound,
// and the unit's command pulls an image.
func TestDebianPackage(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("a chroot takes root")
	}
	root := filepath.Join(t.TempDir(), "root")
	run(t, "", "debootstrap", "--variant=minbase", "--include=ca-certificates,systemd,passwd", "bookworm", root, mirror(t))
	deb := filepath.Join(built(t), "pullgate_0.0.1_linux_"+runtime.GOARCH+".deb")
	run(t, "", "cp", deb, filepath.Join(root, "pullgate.deb"))
	run(t, "", "chroot", root, "dpkg", "--install", "/pullgate.deb")
	if out := run(t, "", "chroot", root, "systemd-analyze", "verify", "pullgate.service"); strings.Contains(out, "pullgate") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	// Of 10, the most exposed, it has 1.6.
	run(t, "", "chroot", root, "systemd-analyze", "security", "--offline=yes", "--threshold=20", "/usr/lib/systemd/system/pullgate.service")
	unit, err := os.ReadFile(filepath.Join(root, "usr/lib/systemd/system/pullgate.service"))
	if err != nil {
		t.Fatal(err)
	}
	serves(t, root, string(unit))
	run(t, "", "chroot", root, "dpkg", "--purge", "pullgate")
	for _, gone := range []string{"usr/bin/pullgate", "etc/pullgate/Caddyfile", "var/lib/pullgate"} {
		if _, err := os.Stat(filepath.Join(root, gone)); !os.IsNotExist(err) {
			t.Errorf("purge leaves /%s: %v", gone, err)
		}
	}
}

// serves starts the unit's command as the unit's user, with an upstream of the test's in
// place of docker.io, and asks it for a manifest.
func serves(t *testing.T, root, unit string) {
	t.Helper()
	manifest := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	upstream := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		if strings.Contains(r.URL.Path, "/manifests/") {
			_, _ = w.Write([]byte(manifest))
		}
	}), ReadHeaderTimeout: time.Minute}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = upstream.Serve(listener) }()
	t.Cleanup(func() { _ = upstream.Close() })

	config := filepath.Join(root, "etc/pullgate/Caddyfile")
	raw, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(raw), "registry_mirror docker.io registry.k8s.io ghcr.io gcr.io quay.io",
		"registry_mirror {\n\t\tupstream docker.io {\n\t\t\turl http://"+listener.Addr().String()+"\n\t\t}\n\t}", 1)
	text = strings.Replace(text, ":5000 {", ":5055 {", 1)
	if err := os.WriteFile(config, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	start := ""
	for line := range strings.Lines(unit) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			start = command
		}
	}
	for _, folder := range []string{"/var/lib/pullgate", "/run/pullgate"} { // systemd makes these
		run(t, "", "chroot", root, "install", "-d", "-m", "0700", "-o", "pullgate", "-g", "pullgate", folder)
	}
	server := exec.CommandContext(t.Context(), "chroot", append([]string{"--userspec=pullgate:pullgate", root}, strings.Fields(start)...)...)
	server.Env = []string{"HOME=/var/lib/pullgate", "XDG_DATA_HOME=/var/lib/pullgate", "XDG_CONFIG_HOME=/var/lib/pullgate/config", "PATH=/usr/bin:/bin"}
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	client := http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(time.Minute); ; {
		response, err := client.Get("http://127.0.0.1:5055/v2/proxy-docker.io/library/alpine/manifests/3")
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("GET a manifest: %s", response.Status)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Error(err)
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// mirror is where this machine gets its packages from.
func mirror(t *testing.T) string {
	t.Helper()
	out := run(t, "", "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
	for line := range strings.Lines(out) {
		if uri := strings.TrimSpace(line); strings.HasSuffix(strings.TrimSuffix(uri, "/"), "/debian") {
			return uri
		}
	}
	t.Fatalf("apt names no mirror of Debian: %s", out)
	return ""
}
