package dockerconfig

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pullgate/pullgate/internal/oci"
	"github.com/pullgate/pullgate/internal/registrytest"
	"github.com/pullgate/pullgate/internal/upstream"
)

func TestConfigurationFile(t *testing.T) {
	s := registrytest.New(t, registrytest.Options{Auth: registrytest.AuthBasic, Username: "u", Password: "p"})
	image := s.PutImage("library/alpine", "3", 1, 10)
	ref := oci.Reference{Tag: image.Tag}
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("DOCKER_CONFIG", home)
	write := func(password string) {
		t.Helper()
		config := fmt.Sprintf(`{"auths":{%q:{"auth":%q},"https://index.docker.io/v1/":{"auth":%q}}}`, s.Addr(),
			base64.StdEncoding.EncodeToString([]byte("u:"+password)), base64.StdEncoding.EncodeToString([]byte("hub:x")))
		if err := os.WriteFile(filepath.Join(home, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("wrong")
	var late atomic.Int64
	at, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := upstream.New(upstream.Options{
		Name: "test.example", URLs: []*url.URL{at}, Credentials: upstream.SourceCredentials(source()),
		Now: func() time.Time { return time.Now().Add(time.Duration(late.Load())) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Manifest(t.Context(), "library/alpine", ref)
	if class := oci.ClassOf(err); class != oci.ClassDenied {
		t.Fatalf("class %q: %v", class, err)
	}
	// A refusal makes the keychain be asked again at once.
	write("p")
	if _, err = c.Manifest(t.Context(), "library/alpine", ref); err != nil {
		t.Fatal(err)
	}
	login, err := source().Login(t.Context(), "index.docker.io")
	if err != nil || login.Username != "hub" {
		t.Errorf("Docker Hub: user %q, %v", login.Username, err)
	}
	if err := os.WriteFile(filepath.Join(home, "config.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	late.Store(int64(10 * time.Minute))
	_, err = c.Manifest(t.Context(), "library/alpine", ref)
	if class := oci.ClassOf(err); class != oci.ClassToken {
		t.Fatalf("class %q: %v", class, err)
	}
}
