package clientconfig

import "encoding/base64"

const (
	talosFile      = "pullgate.yaml"
	talosPatchFile = "pullgate-patch.yaml"
)

// talos makes one patch, to be given to talosctl as it is: the documents of Talos 1.12
// and newer. Credentials and certificates are matched by exactly the host and port of
// the endpoint.
// See https://docs.siderolabs.com/talos/v1.12/reference/configuration/cri/registrymirrorconfig.
func talos(o Options) ([]File, error) {
	if o.MachineConfig {
		return talosPatch(o)
	}
	document := func(kind, name string, fields ...field) any {
		return append(object{{"apiVersion", "v1alpha1"}, {"kind", kind}, {"name", name}}, fields...)
	}
	var documents []any
	for _, name := range o.names() {
		documents = append(documents, document("RegistryMirrorConfig", name,
			field{"endpoints", []object{{{"url", o.endpoint(name)}, {"overridePath", !o.ByNamespace}}}},
			field{"skipFallback", o.SkipFallback}))
	}
	if len(o.Authority) > 0 {
		documents = append(documents, document("RegistryTLSConfig", o.Endpoint.Host, field{"ca", string(o.authority())}))
	}
	if o.Username != "" {
		documents = append(documents, document("RegistryAuthConfig", o.Endpoint.Host, o.login()...))
	}
	return o.talosFile(talosFile, documents...)
}

// talosPatch makes the part of the machine configuration that older releases have
// instead. There, the certificate is in base64, and the path is overridden for all
// endpoints of a registry.
func talosPatch(o Options) ([]File, error) {
	mirrors := map[string]object{}
	for _, name := range o.names() {
		mirrors[name] = object{{"endpoints", []string{o.endpoint(name)}}, {"overridePath", !o.ByNamespace}, {"skipFallback", o.SkipFallback}}
	}
	var host object
	if len(o.Authority) > 0 {
		host = append(host, field{"tls", object{{"ca", base64.StdEncoding.EncodeToString(o.authority())}}})
	}
	if o.Username != "" {
		host = append(host, field{"auth", o.login()})
	}
	registries := object{{"mirrors", mirrors}, {"config", o.ofHost(host)}}
	return o.talosFile(talosPatchFile, object{{"machine", object{{"registries", registries}}}})
}

func (o Options) talosFile(path string, documents ...any) ([]File, error) {
	files, err := yamlFile(path, documents...)
	for n := range files {
		files[n].Secret = o.Username != ""
	}
	return files, err
}

func talosSteps(o Options) []string {
	file := talosFile
	if o.MachineConfig {
		file = talosPatchFile
	}
	return []string{
		"give the file to talosctl: talosctl patch machineconfig --patch @" + file +
			", or talosctl gen config --config-patch @" + file,
	}
}
