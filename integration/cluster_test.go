//go:build integration

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// cluster is three gateways that are one cache, with the bucket of a real S3 server: each
// runs Caddyfile.cluster.example, load balancer included, on an address of its own.
type cluster struct {
	upstream       bearerRegistry
	port, balancer string   // of the gateways and of the load balancers, on each address
	admins         []string // sockets of the admin APIs
}

var clusterAddresses = []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	raw, err := os.ReadFile("../Caddyfile.cluster.example")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{port: freePort(t), balancer: freePort(t), upstream: startBearerRegistry(t, registrytest.Options{}).(bearerRegistry)}
	bucket, peers := startS3(t), freePort(t)
	c.admins = make([]string, len(clusterAddresses))
	processes := make([]*process, len(clusterAddresses))
	// The one whose balancer clients ask starts last: it would pass over those that do not
	// listen yet for as long as its fail_duration says.
	for n, address := range slices.Backward(clusterAddresses) {
		dir := shortDir(t)
		admin := filepath.Join(dir, "admin")
		caddyfile := string(raw)
		for old, replacement := range map[string]string{
			"grace_period 5s": "grace_period 5s\n\tadmin unix/" + admin + "\n\tpersist_config off",
			"storage {":       "storage " + filepath.Join(dir, "store") + " {",
			"https://s3.eu-central-1.amazonaws.com/bucket/prefix": bucket,
			"peers gateway-a:5001 gateway-b:5001 #":               "listen " + address + ":" + peers + "\n\t\t\tpeers " + onAll(peers) + " #",
			"\n:5000 {\n":                                         "\n:" + c.port + " {\n\tbind " + address + "\n",
			"\tregistry_mirror docker.io registry.k8s.io ghcr.io gcr.io quay.io\n": "\tregistry_mirror docker.io registry.k8s.io ghcr.io gcr.io quay.io {\n" +
				"\t\tdefault docker.io\n\t\tupstream docker.io {\n\t\t\tproof_ttl 0\n\t\t\t" + c.upstream.caddyfile() + "\n\t\t}\n\t}\n",
			"\n:5080 {\n": "\n:" + c.balancer + " {\n\tbind " + address + "\n",
			"reverse_proxy gateway-a:5000 gateway-b:5000 {": "reverse_proxy " + onAll(c.port) + " {",
		} {
			if strings.Count(caddyfile, old) != 1 {
				t.Fatalf("Caddyfile.cluster.example has not %q once", old)
			}
			caddyfile = strings.Replace(caddyfile, old, replacement, 1)
		}
		config := writeFile(t, caddyfile, dir, "Caddyfile")
		env := []string{"S3_KEY=" + s3Key, "S3_SECRET=" + s3Secret, "FLEET_SECRET=0123456789abcdef0123456789abcdef", "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
		processes[n], c.admins[n] = start(t, env, binary, "run", "--config", config), admin
		processes[n].await(t, answersWell("http://"+address+":"+c.port+"/v2/"))
	}
	processes[0].await(t, answersWell("http://"+clusterAddresses[0]+":"+c.balancer+"/v2/"))
	for n, p := range processes {
		p.await(t, func() error { return c.complete(n) })
	}
	return c
}

// onAll returns a port of all addresses, as a Caddyfile lists them.
func onAll(port string) string {
	return strings.Join(clusterAddresses, ":"+port+" ") + ":" + port
}

const s3Key, s3Secret = "cluster", "cluster-secret"

// startS3 starts an S3 server, and returns the URL of a place in its bucket.
func startS3(t *testing.T) string {
	t.Helper()
	dir, address := t.TempDir(), "127.0.0.1:"+freePort(t)
	writeFile(t, "", dir, "cache", ".keep")
	p := start(t, []string{"ROOT_ACCESS_KEY_ID=" + s3Key, "ROOT_SECRET_ACCESS_KEY=" + s3Secret}, "../bin/versitygw", "--port", address, "--quiet", "posix", dir)
	p.await(t, answers(http.DefaultClient, "http://"+address+"/"))
	return "http://" + address + "/cache/prefix"
}

// answersWell is answers, and the status has to be 200: a load balancer answers before it
// knows of a gateway.
func answersWell(url string) func() error {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	return func() error {
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s: %s", url, response.Status)
		}
		_ = response.Body.Close()
		return err
	}
}

// clusterStatus is what the admin API tells of one of the gateways.
type clusterStatus struct {
	Storage []struct {
		Bucket struct{ Waiting int }
		Peers  struct {
			Members []struct {
				Instance string
				Self     bool
			}
		}
	}
	Traffic []struct {
		Name     string
		Requests int64
	}
}

func (c *cluster) status(n int) (s clusterStatus, err error) {
	raw, err := adminRequest(c.admins[n], http.MethodGet, "/registry_mirror/", "")
	if err == nil {
		err = json.Unmarshal(raw, &s)
	}
	if err == nil && len(s.Storage) != 1 {
		err = fmt.Errorf("the admin API tells of %d stores", len(s.Storage))
	}
	return s, err
}

// complete returns no error once a gateway knows the others.
func (c *cluster) complete(n int) error {
	s, err := c.status(n)
	if err != nil {
		return err
	}
	known := 0
	for _, m := range s.Storage[0].Peers.Members {
		if !m.Self && m.Instance != "" {
			known++
		}
	}
	if known != len(clusterAddresses)-1 {
		return fmt.Errorf("gateway %d knows %d others", n, known)
	}
	return nil
}

// used returns how many requests of clients each gateway has answered.
func (c *cluster) used(t *testing.T) (requests []int64) {
	t.Helper()
	for n := range c.admins {
		s, err := c.status(n)
		if err != nil {
			t.Fatal(err)
		}
		sum := int64(0)
		for _, traffic := range s.Traffic {
			sum += traffic.Requests
		}
		requests = append(requests, sum)
	}
	return requests
}

// Clients pull a cold image and a warm one through the load balancer that is shipped, in front
// of three gateways, and through a name that DNS gives another one's address each time: the
// upstream is asked for everything once, and then for nothing.
func TestCluster(t *testing.T) {
	for _, road := range []struct {
		name, usual string // the client that pulls if time is short
		host        func(*cluster) string
		start       func(*testing.T, clientKind, *gateway) client
	}{
		{
			"load balancer", "skopeo", func(c *cluster) string { return clusterAddresses[0] + ":" + c.balancer },
			func(t *testing.T, kind clientKind, g *gateway) client { return kind.start(t, g) },
		},
		{
			"round-robin DNS", "containerd with override_path", func(c *cluster) string { return clusterName + ":" + c.port },
			func(t *testing.T, kind clientKind, g *gateway) client { return startRoundRobin(t).lead(t, kind, g) },
		},
	} {
		for _, kind := range clients {
			if kind.name != road.usual && !long() {
				continue
			}
			t.Run(road.name+"/"+kind.name, func(t *testing.T) {
				t.Parallel()
				c := startCluster(t)
				testCluster(t, kind, c, road.start(t, kind, &gateway{access: plain, host: road.host(c)}))
			})
		}
	}
}

func testCluster(t *testing.T, kind clientKind, c *cluster, pulls client) {
	t.Helper()
	i, u := testImage(t), c.upstream
	pull := func(what string) {
		t.Helper()
		if got := pulls.pull(t); got != i.index.Digest {
			t.Fatalf("%s: the client has %s, the upstream %s", what, got, i.index.Digest)
		}
	}
	pull("cold")
	platforms := 1
	if kind.everything {
		platforms = len(architectures)
	}
	assertCount(t, "cold: HEAD of a manifest", u.count("HEAD", "manifests"), 1)
	assertCount(t, "cold: GET of a manifest", u.count("GET", "manifests"), 1+platforms)
	assertCount(t, "cold: HEAD of a blob", u.count("HEAD", "blobs"), 0)
	blobs, want := u.count("GET", "blobs"), platforms*(1+len(contents))
	if blobs != want && (!kind.ranges || blobs < want) {
		t.Errorf("cold: GET of a blob: upstream saw %d, want %d", blobs, want)
	}
	// What was sent is known once the handlers have returned.
	late := time.Now().Add(30 * time.Second)
	for u.BlobBytes() < i.blobBytes(platforms) && time.Now().Before(late) {
		time.Sleep(10 * time.Millisecond)
	}
	if sent := u.BlobBytes(); sent != i.blobBytes(platforms) {
		t.Errorf("cold: %d bytes of blobs crossed the upstream link, the image has %d", sent, i.blobBytes(platforms))
	}
	u.reset()
	pulls.forget(t)
	pull("warm")
	assertCount(t, "warm: any request", u.total(), 0)
	used := c.used(t)
	t.Logf("the gateways have answered %d requests", used)
	if idle := len(slices.DeleteFunc(used, func(n int64) bool { return n > 0 })); idle > 1 {
		t.Error("one gateway has answered them all")
	}
}
