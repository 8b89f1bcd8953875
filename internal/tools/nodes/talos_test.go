package nodes

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/siderolabs/talos/pkg/machinery/config"
	"github.com/siderolabs/talos/pkg/machinery/config/configpatcher"
	"github.com/siderolabs/talos/pkg/machinery/config/generate"
	"github.com/siderolabs/talos/pkg/machinery/config/generate/secrets"
	"github.com/siderolabs/talos/pkg/machinery/config/machine"
	"github.com/siderolabs/talos/pkg/machinery/config/validation"
	"github.com/siderolabs/talos/pkg/machinery/constants"
)

// clientConfig has the gateway write the files for a client, and returns their folder.
func clientConfig(t *testing.T, args ...string) string {
	t.Helper()
	out := t.TempDir()
	args = append([]string{"mirror", "client-config"}, append(args, "--out", out)...)
	cmd := exec.CommandContext(t.Context(), "../../../bin/pullgate", args...)
	if printed, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v (make build makes the binary)\n%s", cmd, err, printed)
	}
	return out
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// patched returns the configuration of a machine with a patch, as Talos validates it before
// it takes it.
func patched(t *testing.T, kind machine.Type, patch []byte) config.Provider {
	t.Helper()
	bundle, err := secrets.NewBundle(secrets.NewFixedClock(time.Now()), config.TalosVersionCurrent)
	if err != nil {
		t.Fatal(err)
	}
	input, err := generate.NewInput("test", "https://10.0.0.10:6443", constants.DefaultKubernetesVersion,
		generate.WithVersionContract(config.TalosVersionCurrent), generate.WithSecretsBundle(bundle), generate.WithInstallDisk("/dev/sda"))
	if err != nil {
		t.Fatal(err)
	}
	base, err := input.Config(kind)
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := configpatcher.LoadPatch(patch)
	if err != nil {
		t.Fatalf("Talos does not read it: %v\n%s", err, patch)
	}
	out, err := configpatcher.Apply(configpatcher.WithConfig(base), []configpatcher.Patch{loaded})
	if err != nil {
		t.Fatalf("Talos does not apply it: %v\n%s", err, patch)
	}
	all, err := out.Config()
	if err != nil {
		t.Fatal(err)
	}
	if warnings, err := all.Validate(metal{}, validation.WithStrict()); err != nil || len(warnings) > 0 {
		t.Fatalf("Talos refuses it: %v %q\n%s", err, warnings, patch)
	}
	return all
}

// metal is the mode of a machine that Talos is installed on.
type metal struct{}

func (metal) String() string        { return "metal" }
func (metal) RequiresInstall() bool { return true }
func (metal) InContainer() bool     { return false }

// TestTalosTakesClientConfig: Talos reads, applies and validates both forms of what
// client-config writes for it, and understands it as it is meant.
func TestTalosTakesClientConfig(t *testing.T) {
	gate := httptest.NewTLSServer(nil)
	defer gate.Close()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: gate.Certificate().Raw})
	for _, more := range [][]string{nil, {"--skip-fallback"}, {"--ns"}} {
		for _, form := range []struct{ option, file string }{{"--machine-config=false", "pullgate.yaml"}, {"--machine-config", "pullgate-patch.yaml"}} {
			for _, kind := range []machine.Type{machine.TypeControlPlane, machine.TypeWorker} {
				t.Run(fmt.Sprint(more, form.file, kind), func(t *testing.T) {
					args := append([]string{
						"talos", "--endpoint", "https://gate.lan:5443", "--user", "node", "--password-file", write(t, "pull \"secret\"\n"),
						"--ca", write(t, string(authority)), form.option,
					}, more...)
					all := patched(t, kind, read(t, filepath.Join(clientConfig(t, append(args, "docker.io", "ghcr.io")...), form.file)))
					checkMirrors(t, all, len(more) > 0 && more[0] == "--ns", len(more) > 0 && more[0] == "--skip-fallback")
					const host = "gate.lan:5443"
					if auth := all.RegistryAuthConfigs()[host]; auth == nil || auth.Username() != "node" || auth.Password() != `pull "secret"` {
						t.Errorf("it logs in at %s with %+v", host, auth)
					}
					if tls := all.RegistryTLSConfigs()[host]; tls == nil || !bytes.Equal(bytes.TrimSpace(tls.CA()), bytes.TrimSpace(authority)) || tls.InsecureSkipVerify() {
						t.Errorf("it trusts at %s %+v", host, tls)
					}
				})
			}
		}
	}
}

func checkMirrors(t *testing.T, all config.Provider, byNamespace, skipFallback bool) {
	t.Helper()
	want := map[string]string{"docker.io": "https://gate.lan:5443/v2/proxy-docker.io", "ghcr.io": "https://gate.lan:5443/v2/proxy-ghcr.io"}
	if byNamespace {
		want = map[string]string{"*": "https://gate.lan:5443"}
	}
	mirrors := all.RegistryMirrorConfigs()
	if len(mirrors) != len(want) {
		t.Errorf("it has the mirrors %v, want %v", mirrors, want)
	}
	for name, url := range want {
		m := mirrors[name]
		if m == nil || len(m.Endpoints()) != 1 {
			t.Errorf("of %s, it has %+v", name, m)
			continue
		}
		if e := m.Endpoints()[0]; e.Endpoint() != url || e.OverridePath() == byNamespace || m.SkipFallback() != skipFallback {
			t.Errorf("for %s, it asks %s, overridePath %t, skipFallback %t; want %s", name, e.Endpoint(), e.OverridePath(), m.SkipFallback(), url)
		}
	}
}

// TestTalosTakesStaticPod: Talos takes the recipe that runs the gateway on a node.
func TestTalosTakesStaticPod(t *testing.T) {
	for _, kind := range []machine.Type{machine.TypeControlPlane, machine.TypeWorker} {
		all := patched(t, kind, read(t, "../../../deploy/talos/static-pod.yaml"))
		if pods := all.Machine().Pods(); len(pods) != 1 || pods[0]["kind"] != "Pod" {
			t.Errorf("%v: it has the pods %v", kind, pods)
		}
		files, err := all.Machine().Files()
		if err != nil || len(files) != 1 || files[0].Path() != "/var/etc/pullgate/Caddyfile" || files[0].Op() != "create" || files[0].Permissions() != 0o644 {
			t.Errorf("%v: it has the files %v (%v)", kind, files, err)
		}
	}
}
