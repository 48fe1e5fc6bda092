using System.Diagnostics;
using System.Net;
using System.Text.Json;
using System.Text.RegularExpressions;
using k8s;
using k8s.Models;
using Nibble.Serving.Clusters;
using Nibble.Tests;

namespace Nibble.Serving.Tests;

/// <summary>What lies in <c>deploy/</c>, as far as it can be checked without a container, a cluster or an init system.</summary>
[Collection("service")]
public partial class DeployTests
{
    private static readonly string Folder = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../../deploy"));

    [Fact]
    public async Task Systemd_has_no_complaint_about_the_unit()
    {
        string unit = File.ReadAllText(Path.Combine(Folder, "nibble.service"));
        string start = Regex.Match(unit, "^ExecStart=(.*)$", RegexOptions.Multiline).Groups[1].Value;
        await AreOptionsAsync(start.Split(' ').Skip(2));
        Assert.Contains("\nUMask=0027\n", unit, StringComparison.Ordinal); // Uploads are nobody else's.
        Assert.SkipUnless(File.Exists("/usr/bin/systemd-analyze"), "There is no systemd-analyze.");
        using var folder = new TempFolder();
        File.WriteAllText(folder["nibble.service"], unit.Replace("/opt/nibble/nibble", TestedProgram.Path, StringComparison.Ordinal));
        using Process verify = Process.Start(new ProcessStartInfo("systemd-analyze", ["verify", folder["nibble.service"]]) { RedirectStandardError = true })!;
        string words = await verify.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await verify.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal((0, ""), (verify.ExitCode, words));
    }

    [Fact]
    public async Task The_manifest_has_ports_probes_and_volumes_that_are_there()
    {
        List<object> documents = KubernetesYaml.LoadAllFromString(File.ReadAllText(Path.Combine(Folder, "kubernetes.yaml")), strict: true);
        Assert.Equal([typeof(V1PersistentVolumeClaim), typeof(V1StatefulSet), typeof(V1Service)], documents.Select(document => document.GetType()));
        var claim = (V1PersistentVolumeClaim)documents[0];
        var set = (V1StatefulSet)documents[1];
        var front = (V1Service)documents[2];
        V1PodSpec pod = set.Spec.Template.Spec;
        V1Container container = Assert.Single(pod.Containers);
        Assert.Equal(set.Spec.Selector.MatchLabels, set.Spec.Template.Metadata.Labels);
        Assert.Equal(set.Spec.Selector.MatchLabels, front.Spec.Selector);
        Assert.Equal((front.Metadata.Name, claim.Metadata.Name), (set.Spec.ServiceName, Assert.Single(pod.Volumes).PersistentVolumeClaim.ClaimName));
        Assert.All(pod.Containers.Concat(pod.InitContainers), each => Assert.Equal(pod.Volumes[0].Name, Assert.Single(each.VolumeMounts).Name));
        int port = new Uri(container.Args[container.Args.IndexOf("--urls") + 1]).Port;
        Assert.Equal(
            [port, port, port, port],
            [Assert.Single(container.Ports).ContainerPort, int.Parse(front.Spec.Ports[0].TargetPort, null), int.Parse(container.ReadinessProbe.HttpGet.Port, null), int.Parse(container.LivenessProbe.HttpGet.Port, null)]);
        await AreOptionsAsync(container.Args);
        await using Service service = await Service.StartAsync();
        await service.KeyAsync(Keys.KeyScope.Admin); // Probes have none.
        foreach (V1Probe probe in (V1Probe[])[container.ReadinessProbe, container.LivenessProbe])
        {
            using HttpResponseMessage response = await service.Client.GetAsync(probe.HttpGet.Path);
            Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        }
    }

    [Fact]
    public void The_templates_of_jobs_can_be_used_and_the_rights_are_those_that_the_service_needs()
    {
        V1Job job = Manifest.Of(File.ReadAllText(Path.Combine(Folder, "kubernetes-job.yaml")), new ClusterJob("nibble-a-1", "/srv/nibble/outputs/a", ["/usr/bin/other"], ["worker", "--exchange", "/x"], 1000));
        V1Container container = Assert.Single(job.Spec.Template.Spec.Containers);
        Assert.Equal(["/opt/nibble/nibble", "worker", "--exchange", "/x"], container.Command.Concat(container.Args));
        Assert.Equal(("Never", 0, false), (job.Spec.Template.Spec.RestartPolicy, job.Spec.BackoffLimit!.Value, job.Spec.Template.Spec.AutomountServiceAccountToken!.Value));
        using (var slurm = new SlurmCluster(Path.Combine(Folder, "slurm-job.sh")))
        {
            Assert.False(slurm.HasGpu);
        }

        List<object> rights = KubernetesYaml.LoadAllFromString(File.ReadAllText(Path.Combine(Folder, "kubernetes-executor.yaml")), strict: true);
        V1Role role = rights.OfType<V1Role>().Single();
        V1RoleBinding binding = rights.OfType<V1RoleBinding>().Single();
        Assert.Equal((role.Metadata.Name, rights.OfType<V1ServiceAccount>().Single().Metadata.Name), (binding.RoleRef.Name, Assert.Single(binding.Subjects).Name));
        Assert.Equal(["batch/jobs: create get delete", "/pods: list"], role.Rules.Select(rule => $"{rule.ApiGroups[0]}/{rule.Resources[0]}: {string.Join(' ', rule.Verbs)}"));
    }

    /// <summary>No linter of Dockerfiles is to be had here, so these are the rules of hadolint that matter most, by their numbers there.</summary>
    [Fact]
    public async Task The_Dockerfile_keeps_the_rules_of_its_linters()
    {
        string[] lines = [.. Continued().Replace(File.ReadAllText(Path.Combine(Folder, "Dockerfile")), " ").Split('\n').Where(line => line.Length > 0 && !line.StartsWith('#'))];
        string[][] words = [.. lines.Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))];
        string[] known = ["FROM", "RUN", "WORKDIR", "COPY", "USER", "ENV", "VOLUME", "EXPOSE", "ENTRYPOINT", "CMD"];
        Assert.All(words, line => Assert.Contains(line[0], known)); // DL3020: no ADD; DL4000: no MAINTAINER.
        Assert.All(words.Where(line => line[0] == "FROM"), line => Assert.Matches(@"^[a-z/.]+:\d[\w.-]*$", line[1])); // DL3006, DL3007.
        string[] stages = [.. words.Where(line => line is ["FROM", _, "AS", _]).Select(line => line[3])];
        Assert.All(words.Where(line => line[0] == "COPY" && line[1].StartsWith("--from=", StringComparison.Ordinal)), line => Assert.Contains(line[1]["--from=".Length..], stages)); // DL3022.
        foreach (string install in lines.Where(line => line.Contains("apt-get install", StringComparison.Ordinal)))
        {
            Assert.Contains("apt-get update &&", install, StringComparison.Ordinal);
            Assert.Contains("--yes --no-install-recommends", install, StringComparison.Ordinal); // DL3014, DL3015.
        }

        int last = Array.FindLastIndex(words, line => line[0] == "FROM");
        Assert.All(lines.Skip(last).Where(line => line.Contains("apt-get", StringComparison.Ordinal)), line => Assert.Contains("rm -rf /var/lib/apt/lists/*", line, StringComparison.Ordinal)); // DL3009.
        Assert.NotEqual("root", words.Skip(last).Last(line => line[0] == "USER")[1]); // DL3002.
        Assert.All(words.Where(line => line[0] == "WORKDIR"), line => Assert.StartsWith("/", line[1], StringComparison.Ordinal)); // DL3000.
        string[] start = ["ENTRYPOINT", "CMD"];
        string[] command = [.. start.SelectMany(name => JsonSerializer.Deserialize<string[]>(lines.Single(line => line.StartsWith($"{name} ", StringComparison.Ordinal))[name.Length..])!)]; // DL3025.
        await AreOptionsAsync(command.Skip(2));
        Assert.Equal(words.Single(line => line[0] == "EXPOSE")[1], $"{new Uri(command[^1]).Port}");
    }

    /// <summary>Checks that <c>nibble serve</c> knows the options among some arguments.</summary>
    private static async Task AreOptionsAsync(IEnumerable<string> arguments)
    {
        using Process help = Process.Start(new ProcessStartInfo(TestedProgram.Path, ["serve", "--help"]) { RedirectStandardOutput = true })!;
        string text = await help.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        string[] options = [.. arguments.Where(argument => argument.StartsWith("--", StringComparison.Ordinal))];
        Assert.NotEmpty(options);
        Assert.All(options, option => Assert.Matches($@"(^|\s){option} <", text));
    }

    [GeneratedRegex(@"\\\n\s*")]
    private static partial Regex Continued();
}
