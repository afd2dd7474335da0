// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kustomizer/kustomizer/internal/artifact"
)

// dockerHubKey is the key of Docker Hub in a Docker configuration.
const dockerHubKey = "https://index.docker.io/v1/"

// maxPassword bounds what is read as a password from standard input.
const maxPassword = 64 << 10

// secretOCI is the flags of "create secret oci".
type secretOCI struct {
	creation
	password
	url, username string
}

func newCreateSecretOCICmd(a *app) *cobra.Command {
	var f secretOCI
	cmd := &cobra.Command{
		Use:   "oci NAME",
		Short: "Create or update a Secret with the credentials of a registry",
		Long: "Create or update a Secret of type kubernetes.io/dockerconfigjson, to be named by the secretRef of an\n" +
			"OCIRepository in the same namespace.",
		Example: "  # For a registry, with a token from the environment\n  echo $GITHUB_TOKEN | kustomizer create secret oci ghcr-auth --url=ghcr.io --username=flux --password-stdin\n\n" +
			"  # As YAML, to be encrypted before it is stored\n" +
			"  echo $GITHUB_TOKEN | kustomizer create secret oci ghcr-auth --url=ghcr.io --username=flux --password-stdin --export\n\n" +
			"  # Docker Hub, in another namespace\n" +
			"  echo $TOKEN | kustomizer create secret oci hub-auth -n apps --url=docker.io --username=me --password-stdin",
		Args: positional("NAME"),
	}
	f.AddFlags(cmd.Flags())
	cmd.RunE = a.run(fluxTimeout, func(ctx context.Context, args []string) error {
		u, err := f.secret(a, cmd, args[0])
		if err != nil {
			return err
		}
		if f.export {
			return a.export(u)
		}
		c, err := a.connect()
		if err != nil {
			return err
		}
		w, err := put(ctx, c, u, false, "type", "data", "stringData")
		if err != nil {
			return err
		}
		did := "updated"
		if w.created {
			did = "created"
		}
		a.ui.Action("oci secret '%s' %s in '%s' namespace", args[0], did, u.GetNamespace())
		return nil
	})
	return cmd
}

// AddFlags adds the command's flags.
func (f *secretOCI) AddFlags(fs *pflag.FlagSet) {
	f.creation.AddFlags(fs)
	f.password.AddFlags(fs)
	fs.StringVar(&f.url, "url", "", "registry that the credentials are for, such as ghcr.io or oci://ghcr.io/me/app (required)")
	fs.StringVarP(&f.username, "username", "u", "", "user name (required)")
}

func (f *secretOCI) secret(a *app, cmd *cobra.Command, name string) (*unstructured.Unstructured, error) {
	if err := requireFlags(cmd, "url", "username"); err != nil {
		return nil, err
	}
	if err := checkName("a Secret", name); err != nil {
		return nil, err
	}
	host, err := registryHost(f.url)
	if err != nil {
		return nil, err
	}
	labels, err := f.labelMap()
	if err != nil {
		return nil, err
	}
	ns, err := a.deliveryNamespace()
	if err != nil {
		return nil, err
	}
	password, err := f.password.read(a, cmd)
	if err != nil {
		return nil, err
	}
	config, err := dockerConfig(host, f.username, password)
	if err != nil {
		return nil, err
	}
	return secretObject(metav1.ObjectMeta{Name: name, Namespace: ns, Labels: labels}, config)
}

func secretObject(meta metav1.ObjectMeta, config []byte) (*unstructured.Unstructured, error) {
	secret := &corev1.Secret{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
		ObjectMeta: meta,
		Type:       corev1.SecretTypeDockerConfigJson,
		StringData: map[string]string{corev1.DockerConfigJsonKey: string(config)},
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(secret)
	if err != nil {
		return nil, fmt.Errorf("encoding a Secret: %w", err)
	}
	u := &unstructured.Unstructured{Object: fields}
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}

// registryHost reads a registry's host from itself or from a reference to something in it. A bare
// word, which as a reference would be a repository of Docker Hub, is a host here.
func registryHost(given string) (string, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(given, artifact.Scheme), "https://")
	host, below, _ := strings.Cut(rest, "/")
	if below != "" {
		ref, err := artifact.ParseReference(rest)
		if err != nil {
			return "", err
		}
		return ref.Repository().Host(), nil
	}
	parsed, err := artifact.ParseHost(host)
	if err != nil {
		return "", badUsage("for example --url=ghcr.io", "--url %q names no registry: %s", given, err)
	}
	return parsed, nil
}

func dockerConfig(host, username, password string) ([]byte, error) {
	key := host
	if host == artifact.DefaultHost || host == "index.docker.io" {
		key = dockerHubKey
	}
	auth := base64.StdEncoding.EncodeToString([]byte(username + ":" + password))
	entry := map[string]string{"username": username, "password": password, "auth": auth}
	config, err := json.Marshal(map[string]any{"auths": map[string]any{key: entry}})
	if err != nil {
		return nil, fmt.Errorf("encoding the credentials: %w", err)
	}
	return config, nil
}

// password is the group of flags by which a password is given.
type password struct {
	flag  string
	stdin bool
}

// AddFlags adds the group to a command.
func (p *password) AddFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&p.stdin, "password-stdin", false, "read the password from standard input")
	fs.StringVarP(&p.flag, "password", "p", "", "password; visible to others on this machine, so prefer --password-stdin")
}

// read returns the password, from standard input or the flag. A flag is visible in the process list
// and in the shell's history, which is worth a warning.
func (p *password) read(a *app, cmd *cobra.Command) (string, error) {
	given := cmd.Flags().Changed("password")
	switch {
	case given && p.stdin:
		return "", badUsage("", "only one of --password and --password-stdin can be given")
	case given:
		a.ui.Warn("a password on the command line is visible to others: prefer --password-stdin")
		if p.flag == "" {
			return "", badUsage("", "the password is empty")
		}
		return p.flag, nil
	case !p.stdin:
		return "", badUsage("for example: echo $TOKEN | "+cmp.Or(cmd.CommandPath(), "kustomizer")+" … --password-stdin", "%s needs --password-stdin", cmd.CommandPath())
	}
	data, err := io.ReadAll(io.LimitReader(a.streams.In, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("reading the password from standard input: %w", err)
	}
	secret := strings.TrimRight(string(data), "\r\n")
	switch {
	case len(data) > maxPassword:
		return "", badUsage("", "the password on standard input is longer than %d bytes", maxPassword)
	case secret == "":
		return "", badUsage("", "the password on standard input is empty")
	default:
		return secret, nil
	}
}
