package main

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/freeport"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// bench is a place where the commands of one page run: a gateway with two images, that
// plain commands find, and a registry in place of all upstreams.
type bench struct {
	folder, address string
	env             []string
	offline         string // where "mirror serve" is made to listen
	replace         *strings.Replacer
}

// otherPrograms are those of others that the pages call, and what they print.
var otherPrograms = map[string]string{
	"talosctl": "docker.io/library/alpine:3.20\nregistry.k8s.io/pause:3.10\n",
	"kubectl":  "kind: List\nitems:\n- kind: Pod\n  spec:\n    containers:\n    - image: alpine:3.20\n",
	"git":      "", "make": "", "skopeo": "",
}

func newBench(t *testing.T) *bench {
	t.Helper()
	registry := registrytest.New(t, registrytest.Options{})
	for seed, tag := range []string{"3.19", "3.20"} {
		registry.PutImage("library/alpine", tag, uint64(seed), 1000)
	}
	registry.PutImage("pause", "3.10", 9, 1000)
	// Sockets have short paths.
	folder, err := os.MkdirTemp("", "pg") //nolint:usetesting // TempDir has the name of the test in its path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	b := &bench{folder: folder}
	for _, address := range []*string{&b.address, &b.offline} {
		if *address, err = freeport.Address(); err != nil {
			t.Fatal(err)
		}
	}
	b.env = append(os.Environ(), "HOME="+folder, "XDG_DATA_HOME="+folder+"/data", "XDG_CONFIG_HOME="+folder+"/config",
		"CADDY_ADMIN=unix/"+folder+"/admin.sock", "PATH="+folder+"/bin:"+os.Getenv("PATH"))
	b.replace = strings.NewReplacer(
		"bin/pullgate", "pullgate", "Caddyfile.example", folder+"/Caddyfile",
		// The registries of these images are elsewhere.
		"--storage ./cache", "--storage ./cache --config "+folder+"/Caddyfile",
		"/srv/pullgate", folder+"/srv", "/etc/containerd", folder+"/containerd",
		"mirror serve ", "mirror serve --listen "+b.offline+" ",
		"pullgate mirror export -o monday", "cp bundle.tar sunday.tar && pullgate mirror export -o monday",
	)
	upstream := "\tupstream %s {\n\t\t\turl " + registry.URL() + "\n\t\t}\n\t"
	b.write(t, "Caddyfile", 0o600, "http://"+b.address+" {\n\tregistry_mirror {\n\t"+
		fmt.Sprintf(upstream, "docker.io")+fmt.Sprintf(upstream, "registry.k8s.io")+"}\n}\n")
	for name, prints := range otherPrograms {
		b.write(t, "bin/"+name, 0o700, "#!/bin/sh\ncat <<'END'\n"+prints+"END\n")
	}
	b.start(t, "pullgate run --config "+folder+"/Caddyfile", b.address)
	b.run(t, "pullgate mirror preload docker.io/library/alpine:3.19 docker.io/library/alpine:3.20")
	return b
}

func (b *bench) write(t *testing.T, name string, mode os.FileMode, text string) {
	t.Helper()
	name = filepath.Join(b.folder, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) command(t *testing.T, line string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-ec", line)
	cmd.Dir, cmd.Env = b.folder, b.env
	return cmd
}

func (b *bench) run(t *testing.T, line string) {
	t.Helper()
	if out, err := b.command(t, line).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", line, err, out)
	}
}

// watch runs a command that does not end until it has told of an upstream.
func (b *bench) watch(t *testing.T, line string) {
	t.Helper()
	cmd := b.command(t, "exec "+line)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	told := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "docker.io ") && !told {
			told = true
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	if err := cmd.Wait(); !told {
		t.Errorf("%s: it tells of no upstream: %v", line, err)
	}
}

// start starts a server, and stops it at the end of the test.
func (b *bench) start(t *testing.T, line, address string) {
	t.Helper()
	server := b.command(t, "exec "+line)
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = server.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = server.Process.Signal(os.Interrupt)
		<-ended
	})
	late := time.After(time.Minute)
	for {
		response, err := http.Get("http://" + address + "/v2/")
		if err == nil {
			_ = response.Body.Close()
			return
		}
		select {
		case <-ended:
			t.Fatalf("%s: %s", line, log.String())
		case <-late:
			t.Fatalf("%s: nobody answers at %s", line, address)
		case <-time.After(10 * time.Millisecond): // another process has no event for us
		}
	}
}

// get asks a gateway for an image.
func get(t *testing.T, address, path string) {
	t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("%s: %s", path, response.Status)
	}
}

// The commands of these pages do what they are said to do, one after another.
func TestDocumentedCommandsRun(t *testing.T) {
	byPage := map[string][]block{}
	for _, b := range blocks(t, "sh") {
		page, _, _ := strings.Cut(b.where, ":")
		byPage[page] = append(byPage[page], b)
	}
	for page, least := range map[string]int{"README.md": 10, "docs/air-gap.md": 9, "docs/operations.md": 8} {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			found, bench := byPage[page], newBench(t)
			slices.SortFunc(found, func(a, b block) int { return lineOf(a) - lineOf(b) })
			ran := 0
			for _, b := range found {
				for line := range strings.Lines(strings.ReplaceAll(b.text, "\\\n", " ")) {
					line = strings.TrimSpace(line)
					if line == "" || strings.HasPrefix(line, "git clone") {
						continue
					}
					ran++
					switch replaced := bench.replace.Replace(line); {
					case strings.Contains(line, "mirror serve "):
						bench.start(t, replaced, bench.offline)
						get(t, bench.offline, "/v2/docker.io/library/alpine/manifests/3.20")
					case strings.Contains(line, "--watch"):
						bench.watch(t, replaced)
					default:
						bench.run(t, replaced)
					}
					if t.Failed() {
						t.Fatalf("%s: %s", b.where, line)
					}
				}
			}
			if ran < least {
				t.Errorf("only %d commands", ran)
			}
		})
	}
}

func lineOf(b block) int {
	_, number, _ := strings.Cut(b.where, ":")
	n, _ := strconv.Atoi(number)
	return n
}
