//go:build fleet

package fleet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// A client is sent to the bucket for a large blob, and gets it there without keys; what is
// small, is asked for again, or is not for that repository, the gateway answers itself. A
// real client follows.
func TestRedirect(t *testing.T) {
	t.Parallel()
	from, shared := registrytest.New(t, registrytest.Options{}), newS3(t).run()
	image := from.PutImage(repository, "3", 1, 100<<10, 4<<20)
	small, large := image.Platforms[0].Layers[0], image.Platforms[0].Layers[1]
	newGateway(t, from, shared, "isolate off").pull(image)
	uploaded(t, shared.open(), image)

	g := newPeer(t, from, shared, "redirect 1MiB", "isolate off")
	if status, _, _ := ask(t, g, http.MethodGet, "library/other", large); status != http.StatusNotFound {
		t.Errorf("another repository gets status %d", status)
	}
	for _, method := range []string{http.MethodHead, http.MethodGet} {
		if status, _, location := ask(t, g, method, repository, small); status != http.StatusOK || location != "" {
			t.Errorf("%s of a small blob has status %d, %s", method, status, location)
		}
	}
	if status, _, location := ask(t, g, http.MethodHead, repository, large); status != http.StatusOK || location != "" {
		t.Errorf("HEAD has status %d, %s", status, location)
	}
	from.Refuse()
	from.Reset()
	// A slow machine may take longer than the bucket is given.
	var location, cached string
	await(t, "the client is sent away", func() bool {
		var status int
		status, cached, location = ask(t, g, http.MethodGet, repository, large)
		return status == http.StatusTemporaryRedirect
	})
	if !strings.HasSuffix(cached, "detail=redirect") || !strings.HasPrefix(location, "http://"+shared.address+"/cache/") {
		t.Errorf("%s, to %s", cached, location)
	}
	response, err := http.Get(location)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if raw, err := io.ReadAll(response.Body); err != nil || !oci.Verify(large.Digest, raw) {
		t.Errorf("%s: %d bytes, %v", response.Status, len(raw), err)
	}
	await(t, "who comes back is served", func() bool {
		status, cached, location := ask(t, g, http.MethodGet, repository, large)
		if location != "" {
			t.Errorf("who comes back is sent away: %s", cached)
		}
		return status == http.StatusOK && strings.HasSuffix(cached, "detail=bucket")
	})

	second := newPeer(t, from, shared, "redirect 1MiB", "isolate off")
	await(t, "skopeo pulls", func() bool {
		out, err := exec.CommandContext(t.Context(), "skopeo", "copy", "--quiet", "--src-tls-verify=false",
			"docker://"+second.host+"/proxy-docker.io/"+repository+":3", "dir:"+t.TempDir()).CombinedOutput()
		if err != nil {
			t.Logf("skopeo: %v\n%s", err, out)
		}
		return err == nil
	})
	for metric, want := range map[string]string{
		`redirected_bytes_total{upstream="docker.io"}`:                         fmt.Sprintf("%g", float64(large.Size)),
		`requests_total{kind="blob",result="redirected",upstream="docker.io"}`: "1",
	} {
		if got := second.metric(metric); got != want {
			t.Errorf("%s is %q, want %s", metric, got, want)
		}
	}
	if n := len(from.Requests()); n > 0 {
		t.Errorf("%d requests to the upstream", n)
	}
}

// ask asks a gateway for a blob, and follows nowhere.
func ask(t *testing.T, g *gatewayProcess, method, repository string, d oci.Descriptor) (status int, cached, location string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+g.host+"/v2/proxy-docker.io/"+repository+"/blobs/"+d.Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("Cache-Status"), response.Header.Get("Location")
}

// metric returns the value of a metric; empty = there is none.
func (g *gatewayProcess) metric(name string) string {
	g.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", g.admin)
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://localhost/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "caddy_registry_mirror_"+name+" "); ok {
			return value
		}
	}
	return ""
}
