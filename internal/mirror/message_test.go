package mirror_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

// TestRefusalsTellEachThingOnce: what a client is told, and what the log says of it, names
// the image that this client has asked for, and who refused, once, and nothing that only
// the program knows by name.
func TestRefusalsTellEachThingOnce(t *testing.T) {
	t.Parallel()
	for name, hook := range map[string]registrytest.Hook{
		"not found": registrytest.Answer(http.StatusNotFound, nil, ""), "denied": registrytest.Answer(http.StatusForbidden, nil, ""),
		"limited": registrytest.Answer(http.StatusTooManyRequests, nil, ""), "trouble": registrytest.Answer(http.StatusNotImplemented, nil, ""),
		"cut": registrytest.Abort, "a page": registrytest.Answer(http.StatusOK, http.Header{"Content-Type": {"text/html"}}, "<html>"),
		"other bytes": registrytest.Answer(http.StatusOK, nil, "other bytes"),
	} {
		t.Run(name, bubble(func(t *testing.T) {
			var log bytes.Buffer
			f := newFixture(t)
			f.log = slog.NewTextHandler(&log, nil)
			f.policy.Identity = upstreamName + "#55badf4e1f0b"
			f.reopen()
			f.clock.run()
			f.connect(upstream.Options{})
			d := f.upstream.PutBlob(repository, registrytest.Random(1, 1000))
			f.upstream.Hook(hook)
			named := upstreamName + "/" + repository
			told := func(object string, err error) {
				t.Helper()
				if err == nil {
					t.Errorf("%s: no error", object)
					return
				}
				message := oci.AsError(err).Message
				if !strings.HasPrefix(message, object+": ") || strings.Count(message, named) != 1 || len(message) <= len(object)+2 {
					t.Errorf("%s: %q", object, message)
				}
				if whole := err.Error(); strings.Contains(whole, "55badf") || strings.Count(whole, "get blob") > 1 || strings.Count(whole, d.String()) > 2 {
					t.Errorf("%s: %q", object, whole)
				}
			}
			for range 2 { // and from memory
				_, _, err := f.mirror.Manifest(t.Context(), manifestRequest("3"))
				told(named+":3", err)
				_, _, err = f.mirror.StatManifest(t.Context(), manifestRequest(d.String()))
				told(named+"@"+d.String(), err)
				_, _, err = f.mirror.Blob(t.Context(), blobRequest(d))
				told(named+"@"+d.String(), err)
				if name != "a page" && name != "other bytes" { // HEAD shows neither
					_, _, err = f.mirror.StatBlob(t.Context(), blobRequest(d))
					told(named+"@"+d.String(), err)
				}
				_, _, err = f.mirror.Tags(t.Context(), oci.Request{Kind: oci.KindTags, Upstream: upstreamName, Repository: repository}, oci.TagsPage{N: -1})
				told("tags of "+named, err)
			}
			synctest.Wait()
			for line := range strings.Lines(log.String()) {
				if strings.Contains(line, "55badf") || strings.Count(line, "get blob") > 1 {
					t.Errorf("log: %s", line)
				}
			}
		}))
	}
}
