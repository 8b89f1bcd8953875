package release

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// caches are where the build finds the Go of this machine and what that has built already.
var caches = map[string]string{"GOROOT": "/usr/local/go", "GOMODCACHE": "/go/pkg/mod", "GOCACHE": "/go/build"}

// podman runs it on a storage that goes with the test, and returns what it prints.
type podman struct{ storage string }

func newPodman(t *testing.T) podman {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("a container here takes root")
	}
	// Paths of its sockets are short.
	storage, err := os.MkdirTemp("/tmp", "podman-")
	if err != nil {
		t.Fatal(err)
	}
	p := podman{storage}
	t.Cleanup(func() {
		if err := os.RemoveAll(storage); err != nil {
			t.Error(err)
		}
	})
	return p
}

func (p podman) run(t *testing.T, args ...string) string {
	t.Helper()
	return strings.TrimSpace(run(t, repository(), "podman", append([]string{
		"--root", filepath.Join(p.storage, "root"), "--runroot", filepath.Join(p.storage, "run"), "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--log-level", "error",
	}, args...)...))
}

// base makes the image that the build begins with: a Debian, without what the build does
// not need. It has no Go, but the variables of this machine's.
func (p podman) base(t *testing.T, name string, goenv map[string]string) {
	t.Helper()
	system, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	tar := filepath.Join(p.storage, "base.tar")
	run(t, system, "tar", "--create", "--file", tar, "--exclude=./dev", "--exclude=./usr/share", "--exclude=./var", "--exclude=./usr/lib/systemd", ".")
	imported := []string{"import", "--change", "ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	for _, variable := range []string{"GOPROXY", "GOSUMDB", "GONOSUMDB", "GONOPROXY", "GOTOOLCHAIN"} {
		imported = append(imported, "--change", "ENV "+variable+"="+goenv[variable])
	}
	for variable, at := range caches {
		imported = append(imported, "--change", "ENV "+variable+"="+at)
	}
	p.run(t, append(imported, tar, "localhost/"+name)...)
	if err := os.Remove(tar); err != nil {
		t.Fatal(err)
	}
}

// TestImage builds the image, with the Go of this machine and its caches, and runs it the
// way install.md says, with all that the Compose file takes from it.
func TestImage(t *testing.T) {
	p := newPodman(t)
	from := regexp.MustCompile(`(?m)^FROM .*(golang:\S+) AS build$`).FindStringSubmatch(read(t, filepath.Join(repository(), "deploy/docker/Dockerfile")))
	if from == nil {
		t.Fatal("the Dockerfile begins with no image of Go")
	}
	var goenv map[string]string
	if err := json.Unmarshal([]byte(run(t, repository(), "go", "env", "-json")), &goenv); err != nil {
		t.Fatal(err)
	}
	p.base(t, from[1], goenv)
	build := []string{
		"build", "--file", "deploy/docker/Dockerfile", "--tag", "pullgate", "--build-arg", "VERSION=" + version,
		"--pull=never", "--layers=false", "--format", "docker", "--isolation", "chroot", "--network", "host",
	}
	for variable, at := range caches {
		build = append(build, "--volume", goenv[variable]+":"+at)
	}
	p.run(t, append(build, ".")...)

	if got := p.run(t, "image", "inspect", "pullgate", "--format", "{{.Config.User}} {{.Config.StopSignal}} {{.Config.Volumes}} {{.Config.ExposedPorts}}"); got != "65532:65532 SIGTERM map[/data:{}] map[5000/tcp:{}]" {
		t.Errorf("the image is made for %s", got)
	}
	var size int
	if _, err := fmt.Sscan(p.run(t, "image", "inspect", "pullgate", "--format", "{{.Size}}"), &size); err != nil || size > 100<<20 {
		t.Errorf("the image has %d bytes (%v)", size, err)
	}
	t.Logf("result: the image has %d MiB", size>>20)
	p.serves(t)
}

// serves runs the image with its own configuration, which asks an upstream of the test's.
func (p podman) serves(t *testing.T) {
	t.Helper()
	// The loopback of this machine, as seen from the container.
	upstream := strings.Replace(startUpstream(t), "127.0.0.1", "10.0.2.2", 1)
	config := strings.Replace(read(t, filepath.Join(repository(), "deploy/docker/Caddyfile")), "registry_mirror docker.io registry.k8s.io ghcr.io gcr.io quay.io",
		"registry_mirror {\n\t\tupstream docker.io {\n\t\t\turl "+upstream+"\n\t\t}\n\t}", 1)
	write(t, filepath.Join(p.storage, "Caddyfile"), config, 0o644)
	port := freePort(t)
	start := []string{
		"run", "--detach", "--name", "gate", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--volume", "cache:/data",
		"--volume", filepath.Join(p.storage, "Caddyfile") + ":/etc/pullgate/Caddyfile:ro", "--publish", "127.0.0.1:" + port + ":5000",
		"--network", "slirp4netns:allow_host_loopback=true", "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=8192:8192", "--pids-limit", "0",
	}
	p.run(t, append(start, "pullgate")...)
	defer func() {
		if t.Failed() {
			t.Log(p.run(t, "logs", "gate"))
		}
		p.run(t, "rm", "--force", "--time", "0", "gate")
	}()
	pull(t, port)
	p.run(t, "healthcheck", "run", "gate")
	if status := read(t, "/proc/"+p.run(t, "inspect", "--format", "{{.State.Pid}}", "gate")+"/status"); !strings.Contains(status, "\nUid:\t65532\t65532\t65532\t65532\n") ||
		!strings.Contains(status, "\nCapEff:\t0000000000000000\n") {
		t.Errorf("it runs as\n%s", status)
	}
	p.owns(t, p.run(t, "volume", "inspect", "--format", "{{.Mountpoint}}", "cache"), 65532, 0o700)
	files := p.run(t, "mount", "gate")
	p.owns(t, filepath.Join(files, "data"), 65532, 0o700)
	p.owns(t, filepath.Join(files, "tmp"), 0, 0o777|os.ModeSticky)
	p.owns(t, filepath.Join(files, "usr/bin/pullgate"), 0, 0o755)
	p.run(t, "unmount", "gate")
	if log := p.run(t, "logs", "gate"); !strings.Contains(log, `"version":"`+version+`"`) {
		t.Errorf("it does not say its version")
	}
	began := time.Now()
	p.run(t, "stop", "--time", "30", "gate")
	t.Logf("result: it stops in %v", time.Since(began).Round(time.Millisecond))
	if code := p.run(t, "inspect", "--format", "{{.State.ExitCode}}", "gate"); code != "0" {
		t.Errorf("exit code %s after SIGTERM, as if it had to be killed", code)
	}
	p.run(t, "start", "gate")
	pull(t, port) // with the volume as it was left
}

// owns checks to whom a file belongs, and its mode.
func (p podman) owns(t *testing.T, name string, id uint32, mode os.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if got := info.Mode() & (os.ModePerm | os.ModeSticky); owner.Uid != id || owner.Gid != id || got != mode {
		t.Errorf("%s is of %d:%d, mode %v; want %d, %v", strings.TrimPrefix(name, p.storage), owner.Uid, owner.Gid, got, id, mode)
	}
}
