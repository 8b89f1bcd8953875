package caddymodule

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/pullgate/pullgate/internal/bundle"
	"github.com/pullgate/pullgate/internal/imagelist"
	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/operate"
	"github.com/pullgate/pullgate/internal/registrytest"
)

// httpClient returns the client of an admin API at a URL.
func httpClient(base string) *operate.Client {
	return &operate.Client{Address: base, Ask: func(ctx context.Context, method, uri string, body io.Reader) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, method, base+uri, body)
		if err != nil {
			return nil, err
		}
		response, err := http.DefaultClient.Do(r)
		if err == nil && response.StatusCode >= http.StatusBadRequest {
			text, _ := io.ReadAll(response.Body)
			response.Body.Close()
			return nil, fmt.Errorf("%s: %s", response.Status, text)
		}
		return response, err
	}}
}

// told collects the lines of verbs that are not progress.
type told struct{ text strings.Builder }

func tell[L interface{ IsProgress() bool }](to *told) func(L) {
	return func(line L) {
		if raw, err := json.Marshal(line); err != nil || !line.IsProgress() {
			fmt.Fprintln(&to.text, string(raw), err)
		}
	}
}

// The same verbs tell the same, whether this process does them or is asked over HTTP.
func TestGatewaysAgree(t *testing.T) {
	upstream := registrytest.New(t, registrytest.Options{})
	upstream.PutImage("library/alpine", "3", 7, 3000)
	s := newSite(t)
	s.load("registry_mirror {\nupstream docker.io {\nurl " + upstream.URL() + "\n}\n}")
	base, _ := adminServer(t)
	image, err := imagelist.Parse("alpine:3")
	if err != nil {
		t.Fatal(err)
	}
	pin, err := oci.ParsePin("docker.io/library/alpine:3")
	if err != nil {
		t.Fatal(err)
	}
	images := operate.ImageRequest{Path: s.storage, Images: []imagelist.Image{image}}
	if err := gateway().Preload(t.Context(), operate.PreloadRequest{ImageRequest: images, Parallel: 2}, func(operate.ImageLine) {}); err != nil {
		t.Fatal(err)
	}
	filled(t)
	all := func(g operate.Gateway) string {
		ctx, to := t.Context(), new(told)
		try := func(what string, err error) {
			t.Helper()
			fmt.Fprintln(&to.text, what)
			if err != nil {
				t.Errorf("%T: %s: %v", g, what, err)
			}
		}
		path := canonical(t, s.storage)
		status, err := g.Status(ctx, path)
		try("status", err)
		fmt.Fprintln(&to.text, len(status.Storage), status.Storage[0].Path, status.Storage[0].BlobBytes, status.Upstreams[0].State)
		try("inventory", g.Inventory(ctx, operate.InventoryRequest{Path: path, Selection: oci.Selection{Upstream: "docker.io"}}, tell[operate.InventoryLine](to)))
		try("pin", g.Pin(ctx, operate.PinRequest{Path: path, Pin: pin}, tell[operate.PinLine](to)))
		try("pins", g.Pins(ctx, operate.PinRequest{Path: path}, tell[operate.PinLine](to)))
		try("unpin", g.Unpin(ctx, operate.PinRequest{Path: path, Pin: pin}, tell[operate.PinLine](to)))
		try("unpin again", g.Unpin(ctx, operate.PinRequest{Path: path, Pin: pin}, tell[operate.PinLine](to)))
		try("remove", g.Remove(ctx, operate.RemoveRequest{Path: path, Selection: oci.Selection{Upstream: "docker.io"}, DryRun: true}, tell[operate.RemoveLine](to)))
		try("check", g.Check(ctx, operate.CheckRequest{Path: path, Verify: true, Rate: 1 << 30}, tell[operate.CheckLine](to)))
		try("verify", g.Verify(ctx, operate.VerifyRequest{ImageRequest: images, Deep: true}, tell[operate.ImageLine](to)))
		try("preload", g.Preload(ctx, operate.PreloadRequest{ImageRequest: images, Parallel: 2}, func(line operate.ImageLine) {
			if line.Pulled == nil { // which tells times
				tell[operate.ImageLine](to)(line)
			}
		}))
		b, err := g.Export(ctx, operate.ExportRequest{Path: path, Images: []string{"alpine:3"}, Platforms: []string{"linux/amd64"}})
		try("export", err)
		var content bytes.Buffer
		try("write", b.Write(bundle.NewWriter(&content), func(int64) {}))
		try("close", b.Close())
		fmt.Fprintln(&to.text, oci.Sum(content.Bytes()))
		read := func() (*bundle.Reader, error) { return operate.OpenBody(bytes.NewReader(content.Bytes())) }
		try("import", g.Import(ctx, operate.ImportRequest{Path: path, DryRun: true}, read, tell[operate.ImportLine](to)))
		if err := g.Check(ctx, operate.CheckRequest{Path: "/nowhere"}, tell[operate.CheckLine](to)); err == nil || !strings.Contains(err.Error(), "no store is open at /nowhere") {
			t.Errorf("%T: a check of nothing: %v", g, err)
		}
		return regexp.MustCompile(`"made":"[^"]*"`).ReplaceAllString(to.text.String(), "")
	}
	here, there := all(gateway()), all(httpClient(base))
	if here != there {
		t.Errorf("this process tells\n%s\nand over HTTP it is\n%s", here, there)
	}
	for _, want := range []string{`"changed":true`, `"nothing":true`, `"verified":4`, `"complete":1`, `"dry_run":true`, `"name":"docker.io/library/alpine"`} {
		if !strings.Contains(here, want) {
			t.Errorf("%s is not in\n%s", want, here)
		}
	}
}

// A server that ends before the last line has not done it.
func TestClientNoticesCutAnswer(t *testing.T) {
	cut := operate.Client{Address: "here", Ask: func(context.Context, string, string, io.Reader) (*http.Response, error) {
		return &http.Response{Body: io.NopCloser(strings.NewReader(`{"paths":["/a"]}` + "\n"))}, nil
	}}
	err := cut.Check(t.Context(), operate.CheckRequest{}, func(operate.CheckLine) {})
	if err == nil || !strings.Contains(err.Error(), "the server at here ended the answer") {
		t.Errorf("error is %v", err)
	}
}
