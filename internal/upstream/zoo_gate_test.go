package upstream

import (
	"net/http"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/registrytest"
)

// TestZooBlobAfterItsManifest has every registry forget what it has given out, a day
// after the manifests were cached: those that have a blob only after its manifest are asked for
// that again, and for nothing that is not needed.
func TestZooBlobAfterItsManifest(t *testing.T) {
	t.Parallel()
	for _, p := range registrytest.Profiles() {
		e := enclose(t, p, p.HasAccounts())
		t.Cleanup(e.server.Close)
		t.Run(p.Name, func(t *testing.T) {
			g := openZooGateway(t, e)
			defer g.close()
			name := p.Repository("open", "app")
			image := e.server.PutImage(name, "1", 1, 4_000)
			platform := image.Platforms[0]
			layer := platform.Layers[0].Digest.String()
			for _, path := range []string{"manifests/1", "manifests/" + platform.Manifest.Digest.String()} {
				if a := g.ask(http.MethodGet, e, name+"/"+path); a.status != http.StatusOK {
					t.Fatalf("%s: %s", path, a)
				}
			}
			g.clock.add(24 * time.Hour)
			e.server.Forget()
			e.server.Reset()
			content := string(registrytest.Random(1<<16, 4_000))
			if a := g.ask(http.MethodGet, e, name+"/blobs/"+layer); !a.right(http.MethodGet, layer, content) {
				t.Errorf("GET: %s", a)
			}
			if a := g.ask(http.MethodHead, e, name+"/blobs/"+layer); !a.right(http.MethodHead, layer, "") {
				t.Errorf("HEAD: %s", a)
			}
			if n := e.server.CountHost(registrytest.HostRegistry, "", "manifests"); n > 1 {
				t.Errorf("%d requests for manifests: %v", n, e.server.Requests())
			}
		})
	}
}
