package release

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// debian is a system that has nothing else; the packages are installed in copies of it.
var debian = sync.OnceValues(func() (string, error) {
	source, err := mirror()
	if err != nil {
		return "", err
	}
	root := filepath.Join(folder, "debian")
	cmd := exec.Command("debootstrap", "--variant=minbase", "--include=ca-certificates,systemd,passwd", "bookworm", root, source)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return root, nil
})

// mirror is where this machine gets its packages from.
func mirror() (string, error) {
	out, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("apt-get indextargets: %w\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if uri := strings.TrimSpace(line); strings.HasSuffix(strings.TrimSuffix(uri, "/"), "/debian") {
			return uri, nil
		}
	}
	return "", fmt.Errorf("apt names no mirror of Debian: %s", out)
}

// system is a Debian in a folder. It looks as if systemd ran there, and notes what
// systemctl is asked for.
type system string

func newSystem(t *testing.T) system {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("a chroot takes root")
	}
	clean, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	s := system(filepath.Join(t.TempDir(), "root"))
	run(t, "", "cp", "--archive", "--reflink=auto", clean, string(s))
	if err := os.MkdirAll(s.path("/run/systemd/system"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, s.path("/usr/bin/systemctl"), "#!/bin/sh\necho \"$@\" >>/said\n", 0o755)
	return s
}

func (s system) path(name string) string { return filepath.Join(string(s), name) }

// run runs a command in the system.
func (s system) run(t *testing.T, args ...string) string {
	t.Helper()
	return run(t, "", "chroot", append([]string{string(s)}, args...)...)
}

// said returns what systemctl was asked for since this was last called.
func (s system) said(t *testing.T) string {
	t.Helper()
	said := read(t, s.path("/said"))
	if err := os.Remove(s.path("/said")); err != nil {
		t.Fatal(err)
	}
	return said
}

func read(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

const (
	caddyfile   = "/etc/pullgate/Caddyfile"
	unitFile    = "/usr/lib/systemd/system/pullgate.service"
	justStarted = "daemon-reload\ntry-restart pullgate.service\n"
)

// TestDebianPackage: the package installs, its unit is sound, and the unit's command
// serves a pull. A later version keeps the configuration, and a purge leaves nothing.
func TestDebianPackage(t *testing.T) {
	s := newSystem(t)
	install := func(deb string) {
		t.Helper()
		run(t, "", "cp", deb, s.path("/pullgate.deb"))
		s.run(t, "dpkg", "--force-confold", "--install", "/pullgate.deb")
		if said := s.said(t); !strings.HasSuffix(said, justStarted) || strings.Contains(said, "disable") {
			t.Errorf("systemctl was asked for\n%s", said)
		}
	}
	install(filepath.Join(built(t), "pullgate_0.0.1_linux_"+runtime.GOARCH+".deb"))
	s.check(t, "/usr/share/zsh/vendor-completions/_pullgate", "/usr/share/doc/pullgate/copyright")
	edited := s.serves(t)
	install(later(t, "deb"))
	s.keeps(t, edited, caddyfile+".dpkg-dist")
	s.run(t, "dpkg", "--purge", "pullgate")
	if said, want := s.said(t), "disable --now pullgate.service\ndaemon-reload\ndaemon-reload\n"; said != want {
		t.Errorf("systemctl was asked for\n%swant\n%s", said, want)
	}
	s.lacks(t, "/usr/bin/pullgate", caddyfile, unitFile, "/var/lib/pullgate")
}

// TestRPMPackage is the same for the other package. What it needs is not there, as
// Debian has other names for it. What is left of an erased one is what was not its own.
func TestRPMPackage(t *testing.T) {
	s := newSystem(t)
	rpm := func(args ...string) string {
		t.Helper()
		return run(t, "", "rpm", append([]string{"--root", string(s), "--dbpath", "/var/lib/rpm"}, args...)...)
	}
	install := func(name, want string) {
		t.Helper()
		rpm("--upgrade", "--nodeps", name)
		if said := s.said(t); said != want {
			t.Errorf("systemctl was asked for\n%swant\n%s", said, want)
		}
	}
	first := filepath.Join(built(t), "pullgate_0.0.1_linux_"+runtime.GOARCH+".rpm")
	needs := slices.DeleteFunc(strings.Split(strings.TrimSpace(run(t, "", "rpm", "--query", "--requires", "--package", first)), "\n"), func(line string) bool {
		return strings.HasPrefix(line, "rpmlib(")
	})
	slices.Sort(needs)
	if needs = slices.Compact(needs); !slices.Equal(needs, []string{"/bin/sh", "ca-certificates", "shadow-utils"}) {
		t.Errorf("it requires %q", needs)
	}
	if host := run(t, "", "rpm", "--query", "--queryformat", "%{BUILDHOST}", "--package", first); host != "localhost" {
		t.Errorf("it names the machine that made it: %s", host)
	}
	install(first, justStarted)
	if found := rpm("--verify", "--nodeps", "pullgate"); found != "" {
		t.Errorf("rpm --verify: %s", found)
	}
	if flags := rpm("--query", "--queryformat", "[%{FILEFLAGS:fflags} %{FILENAMES}\n]", "pullgate"); !strings.Contains(flags, "cn "+caddyfile+"\n") ||
		!strings.Contains(flags, "l /usr/share/licenses/pullgate/LICENSE\n") || strings.Count(flags, "cn ") != 1 {
		t.Errorf("the flags of its files are\n%s", flags)
	}
	s.check(t, "/usr/share/zsh/site-functions/_pullgate", "/usr/share/licenses/pullgate/LICENSE")
	edited := s.serves(t)
	install(later(t, "rpm"), justStarted+"daemon-reload\n")
	if version := rpm("--query", "--queryformat", "%{VERSION}", "pullgate"); version != "0.0.2" {
		t.Errorf("version %s", version)
	}
	s.keeps(t, edited, caddyfile+".rpmnew")
	rpm("--erase", "pullgate")
	if said, want := s.said(t), "disable --now pullgate.service\ndaemon-reload\n"; said != want {
		t.Errorf("systemctl was asked for\n%swant\n%s", said, want)
	}
	s.lacks(t, "/usr/bin/pullgate", caddyfile, unitFile, "/usr/share/licenses/pullgate", "/usr/share/zsh/site-functions/_pullgate")
	if read(t, s.path(caddyfile+".rpmsave")) != edited {
		t.Error("the configuration is not saved")
	}
	s.run(t, "getent", "passwd", "pullgate")
	s.run(t, "test", "-d", "/var/lib/pullgate/cache")
}

// check looks at what was installed: the files, their modes and owners, the user, the
// unit; more are the files that this kind of package alone has.
func (s system) check(t *testing.T, more ...string) {
	t.Helper()
	files := map[string]string{
		"/usr/bin/pullgate": "755 root:root", "/etc/pullgate": "750 root:pullgate", caddyfile: "640 root:pullgate", unitFile: "644 root:root",
		"/usr/share/bash-completion/completions/pullgate": "644 root:root", "/usr/share/fish/vendor_completions.d/pullgate.fish": "644 root:root",
		"/usr/share/man/man8/pullgate-mirror-status.8.gz": "644 root:root",
	}
	for _, name := range more {
		files[name] = "644 root:root"
	}
	for name, want := range files {
		if got := strings.TrimSpace(s.run(t, "stat", "--format", "%a %U:%G", name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	if user := s.run(t, "getent", "passwd", "pullgate"); !strings.HasSuffix(user, ":Pullgate:/var/lib/pullgate:/usr/sbin/nologin\n") {
		t.Errorf("the user is %s", user)
	}
	if out := s.run(t, "systemd-analyze", "verify", "pullgate.service"); strings.Contains(out, "pullgate") {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	// Of 10, the most exposed, it has 1.6.
	s.run(t, "systemd-analyze", "security", "--offline=yes", "--threshold=20", unitFile)
}

// keeps checks that a later version has left the configuration alone, and put its own
// beside it.
func (s system) keeps(t *testing.T, edited, beside string) {
	t.Helper()
	if read(t, s.path(caddyfile)) != edited {
		t.Error("the configuration is not the one that was edited")
	}
	if !strings.HasSuffix(read(t, s.path(beside)), laterLine) {
		t.Errorf("%s is not that of the later version", beside)
	}
	s.check(t)
}

func (s system) lacks(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(s.path(name)); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", name, err)
		}
	}
}

// laterLine ends the Caddyfile of the later version.
const laterLine = "# of a later version\n"

// later packs what the archive holds as a later version, with another Caddyfile.
func later(t *testing.T, packager string) string {
	t.Helper()
	stage := t.TempDir()
	run(t, stage, "tar", "--extract", "--strip-components=1", "--file", filepath.Join(built(t), "pullgate_0.0.1_linux_"+runtime.GOARCH+".tar.gz"))
	deploy := filepath.Join(repository(), "deploy/package")
	write(t, filepath.Join(stage, "Caddyfile"), read(t, filepath.Join(deploy, "Caddyfile"))+laterLine, 0o600)
	config, target := filepath.Join(stage, "nfpm.yaml"), filepath.Join(stage, "pullgate."+packager)
	write(t, config, strings.NewReplacer("${STAGE}", stage, "${ARCH}", runtime.GOARCH, "${VERSION}", "v0.0.2", "${MTIME}", "2030-01-01T00:00:00Z",
		"deploy/package/Caddyfile", filepath.Join(stage, "Caddyfile")).Replace(read(t, filepath.Join(deploy, "nfpm.yaml"))), 0o600)
	run(t, repository(), "go", "tool", "-modfile=internal/tools/release/go.mod", "nfpm", "package", "--config", config, "--packager", packager, "--target", target)
	return target
}

// serves starts the unit's command as the unit's user, with an upstream of the test's in
// place of docker.io, and asks it for a manifest. It returns the configuration for that.
func (s system) serves(t *testing.T) (edited string) {
	t.Helper()
	port := freePort(t)
	edited = strings.Replace(read(t, s.path(caddyfile)), "registry_mirror docker.io registry.k8s.io ghcr.io gcr.io quay.io",
		"registry_mirror {\n\t\tupstream docker.io {\n\t\t\turl "+startUpstream(t)+"\n\t\t}\n\t}", 1)
	edited = strings.Replace(edited, ":5000 {", ":"+port+" {", 1)
	write(t, s.path(caddyfile), edited, 0)
	start := ""
	for line := range strings.Lines(read(t, s.path(unitFile))) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			start = command
		}
	}
	for _, folder := range []string{"/var/lib/pullgate", "/run/pullgate"} { // systemd makes these
		s.run(t, "install", "-d", "-m", "0700", "-o", "pullgate", "-g", "pullgate", folder)
	}
	server := exec.CommandContext(t.Context(), "chroot", append([]string{"--userspec=pullgate:pullgate", string(s)}, strings.Fields(start)...)...)
	server.Env = []string{"HOME=/var/lib/pullgate", "XDG_DATA_HOME=/var/lib/pullgate", "XDG_CONFIG_HOME=/var/lib/pullgate/config", "PATH=/usr/bin:/bin"}
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Signal(os.Interrupt)
		_ = server.Wait()
		if !strings.Contains(log.String(), `"version":"`+version+`"`) {
			t.Error("it does not say its version")
		}
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	pull(t, port)
	return edited
}

// startUpstream starts a registry that has one manifest under all names, and returns its URL.
func startUpstream(t *testing.T) string {
	t.Helper()
	upstream := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		if strings.Contains(r.URL.Path, "/manifests/") {
			_, _ = io.WriteString(w, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		}
	}), ReadHeaderTimeout: time.Minute}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = upstream.Serve(listener) }()
	t.Cleanup(func() { _ = upstream.Close() })
	return "http://" + listener.Addr().String()
}

// pull asks a gateway for a manifest, once it is there.
func pull(t *testing.T, port string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	for deadline := time.Now().Add(time.Minute); ; {
		response, err := client.Get("http://127.0.0.1:" + port + "/v2/proxy-docker.io/library/alpine/manifests/3")
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

// freePort returns a port that nothing listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}
