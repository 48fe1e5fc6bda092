using System.Diagnostics;
using System.Net;
using System.Text;
using System.Text.Json.Nodes;

namespace Nibble.Serving.Tests;

/// <summary>Disks that are full, files that are damaged or gone.</summary>
[Collection("service")]
public class FaultTests
{
    [Fact]
    public async Task A_damaged_checkpoint_is_set_aside_and_the_job_comes_to_the_same_losses_from_the_one_before()
    {
        await using Service service = await Service.StartAsync();
        string id = await service.CreateAsync(Service.Request("damaged", Undisturbed.Steps));
        await service.UntilStepAsync(id, 6);
        await service.PostAsync($"/v1/jobs/{id}/pause");
        string[] checkpoints = [.. Directory.GetDirectories(service["outputs/damaged"], "checkpoint-*").OrderBy(folder => int.Parse(folder.Split('-')[^1]))];
        Assert.True(checkpoints.Length > 1);
        string weights = Path.Combine(checkpoints[^1], "adapter_model.safetensors");
        File.WriteAllBytes(weights, File.ReadAllBytes(weights)[..1000]);
        await service.PostAsync($"/v1/jobs/{id}/resume");
        await service.UntilAsync(id, "completed");
        await Undisturbed.AssertSameAsync(service, "damaged");
        string name = Path.GetFileName(checkpoints[^1]);
        Assert.True(Directory.Exists(service[$"outputs/damaged/damaged-{name}"]));
        Assert.Contains(await service.EventsAsync(id), item => item.Kind == "log" && item.Data["message"]!.GetValue<string>().StartsWith($"{name} is damaged", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_disk_that_is_full_at_a_checkpoint_lets_the_job_go_on_when_there_is_room()
    {
        await using Service service = await Service.StartAsync();
        using var disk = new SmallDisk(service["outputs"]);
        string id = await service.CreateAsync(Service.Request("filled", Undisturbed.Steps));
        await service.UntilSavedAsync(id, "filled");
        disk.Fill();
        await service.UntilAsync(id, job => job["status"]!.GetValue<string>() == "pending"); // Rests before it is tried again.
        disk.Empty();
        await service.UntilAsync(id, "completed");
        Assert.Contains(await service.ChangesAsync(id), change => change.Status == "pending" && change.Reason.Contains("No space left", StringComparison.Ordinal));
        await Undisturbed.AssertSameAsync(service, "filled");
    }

    [Fact]
    public async Task An_upload_for_which_the_disk_has_no_room_is_refused_and_leaves_nothing()
    {
        await using Service service = await Service.StartAsync();
        string files = service["home/files"];
        Directory.CreateDirectory(files);
        using var disk = new SmallDisk(files);
        string line = """{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}""" + "\n";
        using var form = new MultipartFormDataContent
        {
            { new StringContent("fine-tune"), "purpose" },
            { new ByteArrayContent(Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(line, 2 * SmallDisk.Bytes / line.Length)))), "file", "chats.jsonl" },
        };
        using HttpResponseMessage response = await service.Client.PostAsync("/v1/files", form);
        string body = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.InsufficientStorage, body);
        Assert.DoesNotContain(service["home"], body, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFiles(files, "*", SearchOption.AllDirectories));
        Assert.Empty((await service.GetAsync("/v1/files"))["data"]!.AsArray());
    }

    [Fact]
    public async Task A_job_whose_data_is_gone_when_its_turn_comes_fails_at_once_and_is_not_tried_again()
    {
        await using Service service = await Service.StartAsync();
        string first = await service.CreateAsync(Service.Request("first", 100_000));
        await service.UntilStepAsync(first, 1);
        string id = await service.CreateAsync(Service.Request("orphan"));
        File.Delete(service["data/train.jsonl"]);
        using HttpResponseMessage cancelled = await service.Client.DeleteAsync($"/v1/jobs/{first}");
        JsonObject job = await service.UntilAsync(id, "failed");
        Assert.Equal(1, job["attempts"]!.GetValue<int>());
        Assert.Contains("train.jsonl", job["error"]!.GetValue<string>(), StringComparison.Ordinal);
    }

    /// <summary>A file system of a few megabytes over a folder; who may not mount one skips.</summary>
    private sealed class SmallDisk : IDisposable
    {
        public const int Bytes = 16 << 20;

        private readonly string folder;

        public SmallDisk(string folder)
        {
            this.folder = folder;
            Assert.SkipUnless(Run("mount", "-t", "tmpfs", "-o", $"size={Bytes}", "tmpfs", folder), "A file system cannot be mounted here.");
        }

        private string Filler => Path.Combine(folder, "filler");

        /// <summary>Leaves no byte.</summary>
        public void Fill()
        {
            using FileStream file = File.Create(Filler);
            byte[] some = new byte[4096];
            try
            {
                while (true)
                {
                    file.Write(some);
                    file.Flush();
                }
            }
            catch (IOException)
            {
                // It is full.
            }
        }

        public void Empty() => File.Delete(Filler);

        public void Dispose() => Run("umount", "-l", folder);

        private static bool Run(string program, params string[] arguments)
        {
            using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
    }
}
