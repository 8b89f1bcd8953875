//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
)

// dockerClient is a Docker daemon of its own, spoken to over its API. Debian's
// 20.10 refuses a mirror URL with a path, so it meets the gateway's default
// upstream, and like every Docker it has no way to log in to a mirror.
type dockerClient struct {
	http *http.Client
}

func startDocker(t *testing.T, g *gateway) client {
	t.Helper()
	// The daemon's own key would go to /etc/docker.
	dir := t.TempDir()
	config := writeFile(t, fmt.Sprintf(`{"deprecated-key-path": %q}`, filepath.Join(dir, "key.json")), dir, "daemon.json")
	var env []string
	if g.tls {
		env = append(env, "SSL_CERT_FILE="+g.ca)
	}
	return runDocker(t, env, nil, "--config-file", config, "--registry-mirror", g.url())
}

// runDocker runs a daemon, whose command line starts with within.
func runDocker(t *testing.T, env, within []string, args ...string) *dockerClient {
	t.Helper()
	dir := shortDir(t)
	// Where / is not a shared mount, the daemon mounts its data on itself, and
	// does not always take that back.
	t.Cleanup(func() { _ = syscall.Unmount(filepath.Join(dir, "data"), syscall.MNT_DETACH) })
	socket := filepath.Join(dir, "d.sock")
	line := slices.Concat(within, []string{
		"dockerd", "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--host", "unix://" + socket, "--storage-driver", "vfs",
		"--iptables=false", "--ip6tables=false", "--bridge=none",
	}, args)
	daemon := start(t, env, line[0], line[1:]...)
	d := &dockerClient{http: &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}}
	daemon.await(t, answers(d.http, "http://docker/_ping"))
	return d
}

// call returns the answer of the daemon's API.
func (d *dockerClient) call(t *testing.T, method, path string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://docker/v1.41"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := d.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s: %s (%v)", method, path, response.Status, raw, err)
	}
	return raw
}

func (d *dockerClient) pull(t *testing.T) digest.Digest {
	t.Helper()
	return d.pullImage(t, imageRepository, imageTag)
}

// pullImage pulls from Docker Hub, as far as the daemon knows.
func (d *dockerClient) pullImage(t *testing.T, repository, tag string) digest.Digest {
	t.Helper()
	progress := d.call(t, http.MethodPost, "/images/create?"+url.Values{"fromImage": {repository}, "tag": {tag}}.Encode())
	for decoder := json.NewDecoder(strings.NewReader(string(progress))); ; {
		var step struct{ Error string }
		if err := decoder.Decode(&step); errors.Is(err, io.EOF) {
			break
		} else if err != nil || step.Error != "" {
			t.Fatalf("docker pull: %s (%v)", step.Error, err)
		}
	}
	var inspected struct{ RepoDigests []string }
	if err := json.Unmarshal(d.call(t, http.MethodGet, "/images/"+repository+":"+tag+"/json"), &inspected); err != nil {
		t.Fatal(err)
	}
	if len(inspected.RepoDigests) != 1 {
		t.Fatalf("docker has the image under %q, want one name", inspected.RepoDigests)
	}
	_, got, _ := strings.Cut(inspected.RepoDigests[0], "@")
	return digest.Digest(got)
}

func (d *dockerClient) forget(t *testing.T) {
	t.Helper()
	d.call(t, http.MethodDelete, "/images/"+imageRepository+":"+imageTag)
	if left := d.call(t, http.MethodGet, "/images/json?all=1"); strings.TrimSpace(string(left)) != "[]" {
		t.Fatalf("docker still has an image, so the next pull would not be a whole one: %s", left)
	}
}

// socketAnswers returns a check for await: something listens on the socket.
func socketAnswers(path string) func() error {
	return func() error {
		connection, err := net.Dial("unix", path)
		if err != nil {
			return err
		}
		return connection.Close()
	}
}
