using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Nibble.Serving.Tests;

/// <summary>A real browser, and pictures of what it shows.</summary>
internal sealed class Browser : IAsyncDisposable
{
    private static readonly (int Width, int Height)[] Sizes = [(1280, 900), (390, 844)];

    private readonly IPlaywright playwright;
    private readonly IBrowser browser;

    private Browser(IPlaywright playwright, IBrowser browser) => (this.playwright, this.browser) = (playwright, browser);

    /// <summary>Skips the test where there is no browser, or where the service was built without its page.</summary>
    public static async Task<Browser> StartAsync()
    {
        string program = Environment.GetEnvironmentVariable("NIBBLE_CHROMIUM") ?? "/usr/bin/chromium";
        Assert.SkipUnless(File.Exists(program), $"There is no browser at {program}; NIBBLE_CHROMIUM can name one.");
        Assert.SkipUnless(typeof(TrainingService).Assembly.GetManifestResourceNames().Contains("page/index.html"), "The service was built without its page, for want of Node.js.");
        IPlaywright playwright = await Playwright.CreateAsync();
        return new Browser(playwright, await playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions { ExecutablePath = program, Args = ["--no-sandbox"] }));
    }

    /// <summary>The page of a service. What the browser complains about fails the test at its end.</summary>
    public async Task<(IPage Page, List<string> Complaints)> OpenAsync(Service service)
    {
        IBrowserContext context = await browser.NewContextAsync(new BrowserNewContextOptions { BaseURL = service.Client.BaseAddress!.ToString(), ReducedMotion = ReducedMotion.Reduce });
        context.SetDefaultTimeout(60_000);
        SetDefaultExpectTimeout(60_000);
        IPage page = await context.NewPageAsync();
        List<string> complaints = [];
        page.PageError += (_, error) => complaints.Add(error);
        page.Console += (_, message) => complaints.AddRange(message.Type == "error" && !message.Text.Contains("the server responded with a status of 4", StringComparison.Ordinal) ? [message.Text] : []);
        await page.GotoAsync("/");
        return (page, complaints);
    }

    /// <summary>Pictures at the widths of a desk and a phone, light and dark, in artifacts/screenshots; nothing may be wider than the screen.</summary>
    public static async Task PictureAsync(IPage page, string name)
    {
        string folder = Path.GetFullPath(Path.Combine(AppContext.BaseDirectory, "../../../screenshots"));
        foreach ((int width, int height) in Sizes)
        {
            await page.SetViewportSizeAsync(width, height);
            foreach (ColorScheme scheme in new[] { ColorScheme.Light, ColorScheme.Dark })
            {
                await page.EmulateMediaAsync(new PageEmulateMediaOptions { ColorScheme = scheme });
                await page.WaitForTimeoutAsync(100); // Charts are drawn with the next picture of the screen.
                await page.ScreenshotAsync(new PageScreenshotOptions { Path = Path.Combine(folder, $"{name}-{width}-{scheme}.png".ToLowerInvariant()), FullPage = true });
            }

            Assert.Equal(0, await page.EvaluateAsync<int>("document.documentElement.scrollWidth - document.documentElement.clientWidth"));
        }

        await page.SetViewportSizeAsync(Sizes[0].Width, Sizes[0].Height);
    }

    public async ValueTask DisposeAsync()
    {
        await browser.DisposeAsync();
        playwright.Dispose();
    }
}
