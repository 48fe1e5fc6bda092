using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text;
using System.Text.Json.Nodes;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Files;

#pragma warning disable OPENAI001 // The client calls fine-tuning experimental.
using OpenAI.FineTuning;

namespace Nibble.Serving.Tests;

/// <summary>OpenAI's own client, with another address: it uploads, tunes, follows, cancels and chats.</summary>
[Collection("service")]
public class OpenAiClientTests
{
    [Fact]
    public async Task The_official_client_tunes_a_model_and_chats_with_it()
    {
        await using Service service = await Service.StartAsync();
        OpenAIClient client = Client(service);
        OpenAIFileClient files = client.GetOpenAIFileClient();
        OpenAIFile file = await files.UploadFileAsync(new MemoryStream(Encoding.UTF8.GetBytes(Conversations)), "colours.jsonl", FileUploadPurpose.FineTune);
        Assert.Equal(("colours.jsonl", FilePurpose.FineTune), (file.Filename, file.Purpose));
        Assert.Equal(Conversations, (await files.DownloadFileAsync(file.Id)).Value.ToString());
        Assert.Equal(file.Id, Assert.Single((await files.GetFilesAsync()).Value).Id);

        FineTuningClient tuning = client.GetFineTuningClient();
        var options = new FineTuningOptions
        {
            Suffix = "colours",
            Seed = 7,
            ValidationFile = file.Id,
            TrainingMethod = FineTuningTrainingMethod.CreateSupervised(epochCount: 4, batchSize: 4, learningRate: 50),
        };
        FineTuningJob job = await tuning.FineTuneAsync("stories", file.Id, waitUntilCompleted: false, options);
        FineTuningJob other = await tuning.FineTuneAsync("stories", file.Id, waitUntilCompleted: false, options);
        await other.CancelAndUpdateAsync();
        Assert.Equal(FineTuningStatus.Cancelled, other.Status);

        await service.UntilAsync(job.JobId, "completed");
        await job.UpdateStatusAsync();
        Assert.Equal(FineTuningStatus.Succeeded, job.Status);
        Assert.Equal($"ft:stories:colours:{job.JobId}", job.Value);
        HyperparametersForSupervised chosen = Assert.IsType<HyperparametersForSupervised>(job.MethodHyperparameters);
        Assert.Equal((4, 4), (chosen.EpochCount, chosen.BatchSize));
        Assert.True((await service.GetAsync($"/v1/fine_tuning/jobs/{job.JobId}"))["trained_tokens"]!.GetValue<int>() > 0); // Which the client does not show.
        List<FineTuningEvent> events = await job.GetEventsAsync(new GetEventsOptions { PageSize = 20 }).ToListAsync(); // Several pages.
        Assert.Equal(events.Count, events.Select(item => item.Id).Distinct().Count());
        Assert.Equal("The job is succeeded: done", events[0].Message);
        Assert.Equal("The job is queued: created", events[^1].Message);
        Assert.Equal(40, events.Count(item => item.Message.Contains("training loss", StringComparison.Ordinal)));
        List<FineTuningCheckpoint> checkpoints = await job.GetCheckpointsAsync().ToListAsync();
        Assert.Equal([40, 30], checkpoints.Select(checkpoint => checkpoint.StepNumber));
        Assert.True(checkpoints[0].Metrics.TrainLoss > 0);
        Assert.Equal([other.JobId, job.JobId], (await tuning.GetJobsAsync().ToListAsync()).Select(item => item.JobId));

        string[] models = [.. (await client.GetOpenAIModelClient().GetModelsAsync()).Value.Select(model => model.Id)];
        Assert.Equal(["stories", job.Value], models);
        ChatClient chat = client.GetChatClient(job.Value);
        var short1 = new ChatCompletionOptions { Temperature = 0, MaxOutputTokenCount = 24 };
        ChatCompletion answer = await chat.CompleteChatAsync([new UserChatMessage("What colour is the sky?")], short1);
        Assert.StartsWith("The ", answer.Content[0].Text.TrimStart(), StringComparison.Ordinal); // What it has learned, where the base model tells a story.
        Assert.Equal(answer.Usage.TotalTokenCount, answer.Usage.InputTokenCount + answer.Usage.OutputTokenCount);

        var text = new StringBuilder();
        (int parts, ChatTokenUsage? usage) = (0, null);
        await foreach (StreamingChatCompletionUpdate update in chat.CompleteChatStreamingAsync([new UserChatMessage("What colour is the sky?")], short1))
        {
            text.Append(string.Concat(update.ContentUpdate.Select(part => part.Text)));
            parts += update.ContentUpdate.Count;
            usage = update.Usage ?? usage;
        }

        Assert.Equal(answer.Content[0].Text, text.ToString());
        Assert.True(parts > 3, $"{parts} parts are no stream");
        Assert.Equal(answer.Usage.OutputTokenCount, usage!.OutputTokenCount);

        ChatCompletion earlier = await client.GetChatClient(checkpoints[1].ModelId).CompleteChatAsync([new UserChatMessage("What colour is the sky?")], short1);
        Assert.StartsWith("The ", earlier.Content[0].Text.TrimStart(), StringComparison.Ordinal);

        // The same process, its adapter taken off and put on again.
        int process = Assert.Single(service.ChatWorkers);
        ChatCompletion plain = await client.GetChatClient("stories").CompleteChatAsync([new UserChatMessage("What colour is the sky?")], short1);
        Assert.DoesNotContain("The ", plain.Content[0].Text[..4], StringComparison.Ordinal);
        ChatCompletion again = await chat.CompleteChatAsync([new UserChatMessage("What colour is the sky?")], short1);
        Assert.Equal(answer.Content[0].Text, again.Content[0].Text);
        Assert.Equal([process], service.ChatWorkers);
        Assert.True((await files.DeleteFileAsync(file.Id)).Value.Deleted);
    }

    private static readonly string Conversations = string.Concat(Enumerable.Repeat(
        new JsonObject
        {
            ["messages"] = new JsonArray(
                new JsonObject { ["role"] = "user", ["content"] = "What colour is the sky?" },
                new JsonObject { ["role"] = "assistant", ["content"] = "The sky is blue." }),
        }.ToJsonString() + "\n",
        40));

    private static OpenAIClient Client(Service service) => new(
        new ApiKeyCredential("none"), new OpenAIClientOptions { Endpoint = new Uri(service.Client.BaseAddress!, "/v1"), RetryPolicy = new ClientRetryPolicy(0) });
}
