using System.Net;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.Playwright;
using Nibble.Serving.Keys;
using static Microsoft.Playwright.Assertions;

namespace Nibble.Serving.Tests;

/// <summary>The page, in a real browser before the real service.</summary>
[Collection("service")]
public class PageTests
{
    [Fact]
    public async Task A_job_is_created_in_the_form_and_watched_to_its_end_with_its_curves()
    {
        await using Browser browser = await Browser.StartAsync();
        await using Service service = await Service.StartAsync();
        (IPage page, List<string> complaints) = await browser.OpenAsync(service);
        await Expect(page.GetByText("No jobs yet")).ToBeVisibleAsync();
        await page.GetByRole(AriaRole.Navigation).GetByRole(AriaRole.Link, new() { Name = "New job" }).ClickAsync();
        await page.GetByLabel("Base model").FillAsync("stories");
        await page.GetByLabel("Examples", new() { Exact = true }).FillAsync("train.jsonl");
        await page.GetByLabel("Output folder").FillAsync("tuned");
        await page.GetByLabel("Length").FillAsync("256");
        await page.GetByLabel("Further configuration").FillAsync(
            """{"dtype": "float32", "training.max_steps": 12, "training.logging_steps": 1, "training.gradient_accumulation_steps": 1, "data.eval_ratio": 0.2, "training.report_samples": 1}""");
        await page.GetByRole(AriaRole.Button, new() { Name = "Preview" }).ClickAsync();
        await Expect(page.GetByText("that cpu has for jobs")).ToBeVisibleAsync();
        await Expect(page.Locator(".record")).ToHaveCountAsync(3);
        Assert.NotEmpty(await page.Locator("mark").First.InnerTextAsync());
        await Browser.PictureAsync(page, "new-job");
        await page.GetByRole(AriaRole.Button, new() { Name = "Start the job" }).ClickAsync();
        await Expect(page.GetByRole(AriaRole.Heading, new() { Name = "tuned" })).ToBeVisibleAsync();
        await Expect(page.Locator(".badge")).ToHaveTextAsync("completed");
        double loss = service.Losses("tuned")[^1];
        ILocator caption = page.Locator("figure", new() { HasText = "Loss" }).First.Locator(".last-values");
        await Expect(caption).ToContainTextAsync("at step 12");
        Match shown = Regex.Match(await caption.InnerTextAsync(), @"Training: ([\d.]+) at step 12");
        Assert.Equal(loss, double.Parse(shown.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture), 0.0005 * loss);
        await Expect(page.Locator("figure canvas")).ToHaveCountAsync(3);
        Assert.True(await IsDrawnAsync(page), "the curve of the loss is not drawn");
        await Expect(page.GetByRole(AriaRole.Heading, new() { Name = "Samples" })).ToBeVisibleAsync();
        await Expect(page.GetByLabel("Log")).ToContainTextAsync("completed");
        await page.GetByText("Configuration").ClickAsync();
        await Expect(page.GetByRole(AriaRole.Row, new() { Name = "training.max_steps" })).ToContainTextAsync("12");
        Assert.DoesNotContain(service["models"], await page.ContentAsync(), StringComparison.Ordinal);
        await Browser.PictureAsync(page, "job");
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task Two_jobs_are_compared_and_another_is_paused_resumed_and_cancelled()
    {
        await using Browser browser = await Browser.StartAsync();
        await using Service service = await Service.StartAsync();
        string first = await service.CreateAsync(Service.Request("first"));
        await service.UntilAsync(first, "completed");
        JsonObject faster = Service.Request("second");
        faster["learning_rate"] = 1e-3;
        await service.UntilAsync(await service.CreateAsync(faster), "completed");
        (IPage page, List<string> complaints) = await browser.OpenAsync(service);
        await page.GetByLabel("Compare first").CheckAsync();
        await page.GetByLabel("Compare second").CheckAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Compare two" }).ClickAsync();
        await Expect(page.GetByRole(AriaRole.Row, new() { Name = "training.learning_rate" })).ToContainTextAsync("0.001");
        await Expect(page.Locator("figure canvas").First).ToBeVisibleAsync();
        await Browser.PictureAsync(page, "compare");
        await service.CreateAsync(Service.Request("endless", 100_000));
        await page.GetByRole(AriaRole.Link, new() { Name = "Jobs", Exact = true }).ClickAsync();
        ILocator row = page.GetByRole(AriaRole.Row, new() { Name = "endless" });
        await Expect(row).ToContainTextAsync("of 100000 steps");
        await row.GetByRole(AriaRole.Button, new() { Name = "Pause" }).ClickAsync();
        await Expect(row.Locator(".badge")).ToHaveTextAsync("paused");
        await row.GetByRole(AriaRole.Button, new() { Name = "Resume" }).ClickAsync();
        await Expect(row.Locator(".badge")).ToHaveTextAsync("running");
        LocatorBoundingBoxResult? pause = await row.GetByRole(AriaRole.Button, new() { Name = "Pause" }).BoundingBoxAsync();
        Assert.Equal(pause!.Y, (await row.GetByRole(AriaRole.Button, new() { Name = "Cancel" }).BoundingBoxAsync())!.Y); // Beside it, not below.
        await Browser.PictureAsync(page, "jobs");
        await row.GetByRole(AriaRole.Button, new() { Name = "Cancel" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "Cancel the job" }).ClickAsync();
        await Expect(row.Locator(".badge")).ToHaveTextAsync("cancelled");
        await Expect(page.GetByRole(AriaRole.Status)).ToContainTextAsync("endless");
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task A_prompt_is_answered_by_the_base_and_by_what_a_job_made_of_it()
    {
        await using Browser browser = await Browser.StartAsync();
        await using Service service = await Service.StartAsync();
        using HttpResponseMessage models = await service.Client.GetAsync("/v1/models");
        Assert.SkipWhen(models.StatusCode == HttpStatusCode.NotFound, "This service does not chat.");
        string id = await service.CreateAsync(Service.Request("tuned"));
        await service.UntilAsync(id, "completed");
        (IPage page, List<string> complaints) = await browser.OpenAsync(service);
        await page.GotoAsync($"/#/jobs/{id}");
        await page.GetByLabel("Prompt").FillAsync("Once upon a time");
        await page.GetByLabel("Tokens at most").FillAsync("24");
        await page.GetByRole(AriaRole.Button, new() { Name = "Ask" }).ClickAsync();
        await Expect(page.GetByRole(AriaRole.Status)).ToHaveTextAsync("All have answered.");
        Assert.NotEmpty(await page.GetByRole(AriaRole.Region, new() { Name = "Base" }).Locator(".text").InnerTextAsync());
        Assert.NotEmpty(await page.GetByRole(AriaRole.Region, new() { Name = "Fine-tuned" }).Locator(".text").InnerTextAsync());
        await page.GetByLabel("Weights").SelectOptionAsync("Step 4");
        await page.GetByRole(AriaRole.Button, new() { Name = "Ask" }).ClickAsync();
        await Expect(page.GetByRole(AriaRole.Region, new() { Name = "Fine-tuned" })).ToContainTextAsync(":ckpt-step-4");
        await Expect(page.GetByRole(AriaRole.Status)).ToHaveTextAsync("All have answered.");
        await Browser.PictureAsync(page, "chat");
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task What_is_wrong_stands_beside_its_field_and_nothing_starts()
    {
        await using Browser browser = await Browser.StartAsync();
        await using Service service = await Service.StartAsync();
        (IPage page, List<string> complaints) = await browser.OpenAsync(service);
        await page.GotoAsync("/#/new");
        await page.GetByRole(AriaRole.Button, new() { Name = "Start the job" }).PressAsync("Enter"); // The keyboard alone will do.
        await Expect(page.GetByLabel("Base model")).ToBeFocusedAsync();
        await Expect(page.GetByLabel("Base model")).ToHaveAccessibleDescriptionAsync(new Regex("This is needed"));
        await page.GetByLabel("Base model").FillAsync("stories");
        await page.GetByLabel("Examples", new() { Exact = true }).FillAsync("absent.jsonl");
        await page.GetByLabel("Output folder").FillAsync("tuned");
        await page.GetByLabel("Rank").FillAsync("many");
        await page.GetByRole(AriaRole.Button, new() { Name = "Start the job" }).ClickAsync();
        await Expect(page.GetByLabel("Rank")).ToHaveAccessibleDescriptionAsync(new Regex("This is no number"));
        await page.GetByLabel("Rank").FillAsync("4");
        await page.GetByRole(AriaRole.Button, new() { Name = "Start the job" }).ClickAsync();
        await Expect(page.GetByLabel("Examples", new() { Exact = true })).ToHaveAccessibleDescriptionAsync(new Regex("'absent.jsonl' does not exist"));
        await Browser.PictureAsync(page, "refused");
        Assert.Empty((await service.GetAsync("/v1/jobs"))["data"]!.AsArray());
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task A_service_with_a_key_serves_the_page_to_all_and_jobs_to_those_who_have_it()
    {
        await using Browser browser = await Browser.StartAsync();
        await using Service service = await Service.StartAsync();
        string key = (await service.KeyAsync(KeyScope.Train)).Text;
        (IPage page, List<string> complaints) = await browser.OpenAsync(service);
        await page.GetByLabel("Key", new() { Exact = true }).FillAsync(key);
        await page.GetByRole(AriaRole.Button, new() { Name = "Use this key" }).ClickAsync();
        await Expect(page.GetByText("No jobs yet")).ToBeVisibleAsync();
        Assert.Empty(complaints);
    }

    [Fact]
    public async Task The_page_is_served_with_its_type_a_tag_and_a_policy_without_inline_scripts()
    {
        await using Service service = await Service.StartAsync();
        using HttpResponseMessage page = await service.Client.GetAsync("/");
        Assert.SkipWhen(page.StatusCode == HttpStatusCode.NotFound, await page.Content.ReadAsStringAsync());
        Assert.Equal("text/html", page.Content.Headers.ContentType!.MediaType);
        Assert.DoesNotContain("unsafe", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        string html = await page.Content.ReadAsStringAsync();
        Assert.DoesNotContain("http", html, StringComparison.Ordinal); // Nothing comes from elsewhere.
        string script = Regex.Match(html, "src=\"(/assets/[^\"]+[.]js)\"").Groups[1].Value;
        using HttpResponseMessage code = await service.Client.GetAsync(script);
        Assert.Equal("text/javascript", code.Content.Headers.ContentType!.MediaType);
        using var again = new HttpRequestMessage(HttpMethod.Get, script);
        again.Headers.IfNoneMatch.Add(code.Headers.ETag!);
        using HttpResponseMessage same = await service.Client.SendAsync(again);
        Assert.Equal(HttpStatusCode.NotModified, same.StatusCode);
    }

    /// <summary>Whether some pixels of the first chart have the colour of its line.</summary>
    private static Task<bool> IsDrawnAsync(IPage page) => page.EvaluateAsync<bool>(
        """
        () => {
            const canvas = document.querySelector("figure canvas");
            const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
            const probe = document.createElement("canvas").getContext("2d");
            probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--line-1").trim();
            probe.fillRect(0, 0, 1, 1);
            const wanted = probe.getImageData(0, 0, 1, 1).data;
            let found = 0;
            for (let i = 0; i < pixels.length; i += 4) {
                found += pixels[i] === wanted[0] && pixels[i + 1] === wanted[1] && pixels[i + 2] === wanted[2] && pixels[i + 3] === 255 ? 1 : 0;
            }
            return found > 100;
        }
        """);
}
